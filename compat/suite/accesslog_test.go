package suite

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/compat/foreign"
	"millrace/compat/target"
)

// TestAccessLog is real input by a way that Millrace has no hand in: the lines of
// a web server's log become JSON here, kcat sends them, and the users' counts are
// those of the file, on Millrace's broker and on Apache Kafka, also after kill -9.
func TestAccessLog(t *testing.T) {
	kcat, err := foreign.KCat()
	if err != nil {
		leaveOut(t, "kcat", err)
	}
	clicks, want := accessLog(t)
	t.Run("on Millrace", func(t *testing.T) {
		node, err := target.Start(t.Context(), target.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		checkAccessLog(t, kcat, clicks, want, node.Addr, node)
	})
	t.Run("on Kafka", func(t *testing.T) {
		if _, _, err := foreign.Kafka(); err != nil {
			leaveOut(t, "the access log on Kafka", err)
		}
		kafka, err := target.Start(t.Context(), target.Options{Kind: target.Kafka})
		if err != nil {
			t.Fatal(err)
		}
		defer kafka.Close()
		node, err := target.Start(t.Context(), target.Options{Brokers: kafka.Addr})
		if err != nil {
			t.Fatalf("%v\n%s", err, kafka.LogTail())
		}
		defer node.Close()
		checkAccessLog(t, kcat, clicks, want, kafka.Addr, node)
	})
}

// accessLog is the file as clicks, one a line, and how many each address has.
// The busiest three are what awk finds in it: see the file's own notes.
func accessLog(t *testing.T) (clicks string, perUser map[string]int) {
	t.Helper()
	packed, err := os.Open(filepath.Join(foreign.Checkout(), "examples", "access-log", "semicomplete-2015-05-access.log.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	lines, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	perUser = make(map[string]int)
	each := bufio.NewScanner(lines)
	each.Buffer(nil, 1<<20)
	for each.Scan() {
		words := strings.Fields(each.Text())
		at, err := time.Parse("[02/Jan/2006:15:04:05 -0700]", words[3]+" "+words[4])
		if err != nil {
			t.Fatal(err)
		}
		click, err := json.Marshal(map[string]any{"user_id": words[0], "timestamp": at.Unix(), "page": words[6]})
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(click, '\n'))
		perUser[words[0]]++
	}
	if err := each.Err(); err != nil {
		t.Fatal(err)
	}
	if len(perUser) != 1753 || perUser["66.249.73.135"] != 482 || perUser["46.105.14.53"] != 364 || perUser["130.237.218.86"] != 357 {
		t.Fatalf("the file is not the one that this test knows: %d addresses", len(perUser))
	}
	return out.String(), perUser
}

func checkAccessLog(t *testing.T, kcat, clicks string, want map[string]int, brokers string, node *target.Broker) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clicks")
	if err := os.WriteFile(file, []byte(clicks), 0o644); err != nil {
		t.Fatal(err)
	}
	output(t, soon, kcat, "-P", "-b", brokers, "-t", "click_events", "-l", file)
	for _, after := range []string{"", " after kill -9"} {
		if after != "" {
			if err := node.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := node.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		verdict := output(t, soon, target.Binary(), "verify", "-o", "table", "--brokers", brokers)
		if !strings.HasPrefix(verdict, fmt.Sprintf("MATCH  %d clicks of %d users", 10_000, len(want))) {
			t.Errorf("verify%s: %s", after, verdict)
		}
		if got := clickCounts(t, kcat, brokers); !maps.Equal(got, want) {
			t.Errorf("click_counts%s has %d users, want %d; the busiest has %d clicks", after, len(got), len(want), got["66.249.73.135"])
		}
	}
}

// clickCounts is the newest value of each key of click_counts.
func clickCounts(t *testing.T, kcat, brokers string) map[string]int {
	t.Helper()
	out := output(t, soon, kcat, "-C", "-q", "-e", "-b", brokers, "-t", "click_counts", "-o", "beginning", "-X", "isolation.level=read_committed")
	counts := make(map[string]int)
	for line := range strings.Lines(out) {
		var count struct {
			UserID string `json:"user_id"`
			Clicks int    `json:"clicks"`
		}
		if err := json.Unmarshal([]byte(line), &count); err != nil {
			t.Fatalf("click_counts: %v in %q", err, line)
		}
		counts[count.UserID] = count.Clicks
	}
	return counts
}
