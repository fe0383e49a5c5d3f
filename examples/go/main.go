// go run . MODEL TEXT...: prints the label and probability of each text.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"time"

	pb "classify/text_classifier"
	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // error details
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: go run . MODEL TEXT...")
		os.Exit(2)
	}
	config, err := os.ReadFile("../service_config.json") // retries with exponential back-off
	if err != nil {
		log.Fatal(err)
	}
	address := cmp.Or(os.Getenv("TEXT_CLASSIFIER_ADDRESS"), "127.0.0.1:50051")
	plaintext := grpc.WithTransportCredentials(insecure.NewCredentials())
	channel, err := grpc.NewClient(address, plaintext, grpc.WithDefaultServiceConfig(string(config)))
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // deadline of the call, retries included
	defer cancel()
	response, err := pb.NewTextClassifierClient(channel).Classify(ctx, &pb.ClassifyRequest{Model: os.Args[1], Texts: os.Args[2:]})
	if err != nil { // details: the invalid field (BadRequest), when to retry (RetryInfo), and others
		log.Fatalln(status.Code(err), status.Convert(err).Message(), status.Convert(err).Details())
	}
	for _, answer := range response.Classifications {
		fmt.Printf("%s\t%.4f\n", answer.Label, answer.Probability)
	}
}
