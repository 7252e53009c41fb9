package suite

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"millrace/compat/foreign"
	"millrace/compat/target"
)

// franzWithin bounds the whole foreign suite.
const franzWithin = 15 * time.Minute

// TestFranzGo runs franz-go's own test suite against the broker, without what
// testdata/franz-skip.txt names. FRANZ_RECORDS shortens its long chains, whose
// default is 500,000 records.
func TestFranzGo(t *testing.T) {
	dir, err := copyModule(t.Context(), "github.com/twmb/franz-go", t.TempDir())
	if err != nil {
		leaveOut(t, "franz-go's own tests", err)
	}
	b := ownBroker(t, target.Options{})
	skip, reasons := franzSkips(t, b)
	ctx, cancel := context.WithTimeout(t.Context(), franzWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-timeout", franzWithin.String(), "-skip", skip, "./pkg/kgo")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "KGO_SEEDS="+b.Addr, "KGO_TEST_RF=1", "GOFLAGS=-mod=mod",
		"KGO_TEST_SCRAM_SEEDS="+securedBroker(t).Addr, "KGO_TEST_SCRAM="+target.Admin+":"+target.AdminPassword)
	if records := os.Getenv("FRANZ_RECORDS"); records != "" {
		cmd.Env = append(cmd.Env, "KGO_TEST_RECORDS="+records)
	}
	log := filepath.Join(foreign.Cache(), "franz-go.log")
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	runErr := cmd.Run()
	passed, skipped, failed := verdicts(t, log)
	t.Logf("franz-go: %d tests passed, %d failed, %d skipped themselves, %d names left out by our list (%s); log in %s",
		passed, len(failed), len(skipped), len(reasons), strings.Join(reasons, "; "), log)
	for _, name := range failed {
		t.Errorf("franz-go's %s failed", name)
	}
	if runErr != nil {
		raw, _ := os.ReadFile(log)
		t.Errorf("go test: %v\n%s", runErr, tail(string(raw)))
	}
	if passed < 100 {
		t.Errorf("only %d tests passed: that is not the suite", passed)
	}
}

// copyModule copies a module of go.mod out of the read-only module cache.
func copyModule(ctx context.Context, module, into string) (string, error) {
	list := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	list.Dir = foreign.Source()
	raw, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("go mod download %s: %w", module, err)
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(raw, &found); err != nil {
		return "", err
	}
	err = filepath.WalkDir(found.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(into, strings.TrimPrefix(path, found.Dir))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, content, 0o644)
	})
	return into, err
}

// franzSkips returns the pattern for -skip, and each name with its reason. A
// line whose second word is key=N counts only while the broker does not
// advertise that API key.
func franzSkips(t *testing.T, b *target.Broker) (pattern string, reasons []string) {
	t.Helper()
	raw, err := os.ReadFile("testdata/franz-skip.txt")
	if err != nil {
		t.Fatal(err)
	}
	served, err := dial(t, b).Served()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, reason, _ := strings.Cut(line, " ")
		reason = strings.TrimSpace(reason)
		var key int16
		if n, _ := fmt.Sscanf(reason, "key=%d", &key); n == 1 {
			if _, ok := served[key]; ok {
				continue
			}
		}
		names = append(names, name)
		reasons = append(reasons, name+": "+reason)
	}
	return "^(" + strings.Join(names, "|") + ")$", reasons
}

var verdict = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+)`)

// verdicts counts the top-level results in the output of go test -v.
func verdicts(t *testing.T, log string) (passed int, skipped, failed []string) {
	t.Helper()
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		m := verdict.FindStringSubmatch(lines.Text())
		switch {
		case m == nil:
		case m[1] == "PASS":
			passed++
		case m[1] == "SKIP":
			skipped = append(skipped, m[2])
		default:
			failed = append(failed, m[2])
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return passed, skipped, failed
}
