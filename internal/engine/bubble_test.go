//go:build !synctests

package engine

import (
	"os/exec"
	"strings"
	"testing"
)

// TestInTheBubble runs the tests that need franz-go's build tag "synctests":
// with it a wait for one of franz-go's locks does not stop the fake clock. So
// that a plain go test proves the same, it calls itself with the tag.
func TestInTheBubble(t *testing.T) {
	out, err := exec.Command("go", "test", "-count=1", "-timeout=10m", "-tags=synctests", ".").CombinedOutput()
	if text := strings.TrimSpace(string(out)); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
}
