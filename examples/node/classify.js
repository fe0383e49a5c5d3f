// node classify.js MODEL TEXT...: prints the label and probability of each text.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const proto = file("../../proto/text_classifier/v1/text_classifier.proto");
const contract = protoLoader.loadSync(proto, { keepCase: true, defaults: true });
const { TextClassifier } = grpc.loadPackageDefinition(contract).text_classifier.v1;

const address = process.env.TEXT_CLASSIFIER_ADDRESS || "127.0.0.1:50051";
const client = new TextClassifier(address, grpc.credentials.createInsecure(), {
  // Retries with exponential back-off.
  "grpc.service_config": readFileSync(file("../service_config.json"), "utf8"),
});

const [model, ...texts] = process.argv.slice(2);
if (!texts.length) {
  console.error("usage: node classify.js MODEL TEXT...");
  process.exit(2);
}
const deadline = Date.now() + 5000; // of the call, retries included
client.Classify({ model, texts }, { deadline }, (error, response) => {
  if (error) {
    // The message says what is wrong and what to do. error.code is a value of grpc.status.
    console.error(`${grpc.status[error.code]}: ${error.details}`);
    process.exitCode = 1;
  } else {
    for (const { label, probability } of response.classifications) {
      console.log(`${label}\t${probability.toFixed(4)}`);
    }
  }
  client.close();
});
