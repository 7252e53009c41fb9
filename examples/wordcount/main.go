// Wordcount counts the words of the topic "lines" into the topic "word-counts",
// exactly once, whenever it is killed:
//
//	go run ./examples/wordcount &
//	echo "to be or not to be" | millrace produce lines
//	millrace consume word-counts
//
// Without flags it brings its own broker; with --brokers it runs on a Kafka
// cluster, on as many machines as "lines" has partitions.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"millrace"
	"millrace/codec"
)

var (
	lines  = millrace.NewTopic("lines", codec.Bytes, codec.String)
	counts = millrace.NewTopic("word-counts", codec.String, codec.JSON[int64]())
)

func wordCount() *millrace.App {
	app := millrace.New("word-count")
	app.From(lines).FlatMap(words).GroupBy(itself).Count("words").To(counts)
	return app
}

func words(line string, emit func(string)) {
	for word := range strings.FieldsSeq(strings.ToLower(line)) {
		emit(word)
	}
}

func itself(word string) string { return word }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := wordCount().Run(ctx, millrace.Flags(os.Args[1:])); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
