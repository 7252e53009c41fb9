// Package article holds the test of the two example programs below it.
package article

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// TestProducerAndConsumer runs both programs as a reader of the article would:
// ten clicks, one a second, counted by a consumer that Ctrl-C ends cleanly.
func TestProducerAndConsumer(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	brokers := "-brokers=" + cluster.ListenAddrs()[0]

	consumer := exec.CommandContext(t.Context(), build(t, "consumer"), brokers)
	consumer.Stderr = os.Stderr
	said, err := consumer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := consumer.Start(); err != nil {
		t.Fatal(err)
	}
	producer := exec.CommandContext(t.Context(), build(t, "producer"), brokers, "-batch-size=1024", "-linger=1ms")
	sent, err := producer.CombinedOutput()
	if err != nil || strings.Count(string(sent), "Sent to partition") != 10 {
		t.Fatalf("the producer ended with %v:\n%s", err, sent)
	}
	lines := bufio.NewScanner(said)
	for i := 1; i <= 10; i++ {
		want := fmt.Sprintf("User user_123 has clicked %d times.", i)
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("the consumer said %q, want %q", lines.Text(), want)
		}
	}
	if err := consumer.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := consumer.Wait(); err != nil {
		t.Errorf("after Ctrl-C the consumer ended with %v", err)
	}
}

func build(t *testing.T, program string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), program)
	if out, err := exec.Command("go", "build", "-o", binary, "./"+program).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", program, err, out)
	}
	return binary
}
