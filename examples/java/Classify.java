// java Classify MODEL TEXT...: prints the label and probability of each text.
import com.google.gson.Gson;
import com.google.rpc.BadRequest;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.TimeUnit;
import text_classifier.v1.TextClassifierGrpc;
import text_classifier.v1.TextClassifierOuterClass.ClassifyRequest;

public class Classify {
  public static void main(String[] arguments) throws Exception {
    if (arguments.length < 2) {
      System.err.println("usage: java Classify MODEL TEXT...");
      System.exit(2);
    }
    // Retries with exponential back-off.
    Map<String, ?> config = new Gson().fromJson(Files.readString(Path.of("../service_config.json")), Map.class);
    var address = System.getenv().getOrDefault("TEXT_CLASSIFIER_ADDRESS", "127.0.0.1:50051");
    var channel = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create())
        .defaultServiceConfig(config).enableRetry().build();
    var texts = Arrays.asList(arguments).subList(1, arguments.length);
    var request = ClassifyRequest.newBuilder().setModel(arguments[0]).addAllTexts(texts).build();
    try {
      // Deadline of the call, retries included.
      var stub = TextClassifierGrpc.newBlockingStub(channel).withDeadlineAfter(5, TimeUnit.SECONDS);
      stub.classify(request).getClassificationsList().forEach(
          answer -> System.out.printf("%s\t%.4f%n", answer.getLabel(), answer.getProbability()));
    } catch (StatusRuntimeException error) {
      System.err.println(error.getStatus().getCode() + " " + error.getStatus().getDescription());
      for (var detail : StatusProto.fromThrowable(error).getDetailsList()) {
        if (detail.is(BadRequest.class)) // other details: ResourceInfo, RetryInfo, PreconditionFailure
          System.err.println(detail.unpack(BadRequest.class).getFieldViolationsList());
      }
      System.exit(1);
    } finally {
      channel.shutdown();
    }
  }
}
