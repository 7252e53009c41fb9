//go:build !synctests

package engine

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var worldsFlag = flag.Int("worlds", 0, "run only the simulated worlds, so many storms and every pair of failpoints, on two cores; 0 runs everything once, with few storms")

// TestInTheBubble runs the tests that need franz-go's build tag "synctests":
// with it a wait for one of franz-go's locks does not stop the fake clock. So
// that a plain go test proves the same, it builds them and calls them.
func TestInTheBubble(t *testing.T) {
	program := filepath.Join(t.TempDir(), "bubble.test")
	if out, err := exec.Command("go", "test", "-c", "-tags=synctests", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if *worldsFlag == 0 {
		inBubble(t, program)
		return
	}
	var shards sync.WaitGroup
	const n = 2
	for shard := range n {
		shards.Go(func() {
			inBubble(t, program, "-test.v", "-test.run=^(TestStorm|TestFailpoint)", fmt.Sprintf("-seeds=%d", *worldsFlag), "-all",
				fmt.Sprintf("-shard=%d", shard), fmt.Sprintf("-shards=%d", n))
		})
	}
	shards.Wait()
}

// inBubble runs the program once. Worlds are many goroutines that wait for each
// other all the time: one processor runs them in less time than two. No world
// waits for a real clock, so the limit of time is for what hangs.
func inBubble(t *testing.T, program string, args ...string) {
	c := exec.Command(program, append(args, "-test.timeout=50m", "-test.paniconexit0")...)
	c.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=400")
	out, err := c.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		t.Errorf("%v:\n%s", err, text)
	} else if len(args) > 0 {
		t.Log(text)
	}
}
