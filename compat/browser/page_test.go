package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/compat/foreign"
	"millrace/compat/probe"
	"millrace/compat/target"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if foreign.PrintLeftOut(os.Stdout) > 0 && os.Getenv("STRICT") == "1" && code == 0 {
		code = 1
	}
	os.Exit(code)
}

// seen is what page.cjs prints.
type seen struct {
	Errors, Violations, Failed, Foreign []string
	Status                              int
	Policy, Title, Lang, Text           string
	FirstNumber                         bool
	MovedAfter                          [2]*int // ms
	Hostile                             int     // elements that a user id made
	Overflow                            int     // pixels wider than a phone
}

// hostileUser is a user id that makes an element if the page takes it for
// markup.
const hostileUser = `<img id=planted src=x onerror=alert(1)>`

// TestPage starts Millrace with simulated clicks and opens its page.
func TestPage(t *testing.T) {
	page := look(t, demo(t))
	for what, found := range map[string][]string{
		"console errors": page.Errors, "CSP violations": page.Violations,
		"failed requests": page.Failed, "requests to other hosts": page.Foreign,
	} {
		if len(found) > 0 {
			t.Errorf("%s: %q", what, found)
		}
	}
	if page.Status != 200 || page.Title == "" || page.Lang == "" {
		t.Errorf("status %d, title %q, lang %q", page.Status, page.Title, page.Lang)
	}
	if !strings.Contains(page.Policy, "default-src 'none'") || strings.Contains(page.Policy, "unsafe") {
		t.Errorf("Content-Security-Policy: %q", page.Policy)
	}
	if !page.FirstNumber {
		t.Error("no number appeared on the page")
	}
	for i, after := range page.MovedAfter {
		if after == nil {
			t.Errorf("look %d: the numbers do not move", i+1)
			continue
		}
		t.Logf("look %d: the numbers moved within %d ms", i+1, *after)
	}
	if page.Hostile > 0 {
		t.Errorf("a user id became %d elements of the page", page.Hostile)
	}
	if !strings.Contains(page.Text, hostileUser) {
		t.Errorf("the top users do not show %s as text:\n%s", hostileUser, page.Text)
	}
	if page.Overflow > 0 {
		t.Errorf("the page is %d pixels wider than a phone", page.Overflow)
	}
	if t.Failed() {
		t.Logf("the page says:\n%s", page.Text)
	}
}

// demo starts Millrace with simulated clicks and one very busy user of the
// test's own.
func demo(t *testing.T) *target.Broker {
	t.Helper()
	b, err := target.Start(t.Context(), target.Options{Args: []string{"--demo"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	conn, err := probe.Dial(t.Context(), b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := conn.Partitions("click_events"); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the simulated clicks have no topic: %v", err)
		}
	}
	clicks := make([][]byte, 5000)
	for i := range clicks {
		clicks[i] = fmt.Appendf(nil, `{"user_id":%q,"timestamp":%d,"page":"/<b>bold</b>"}`, hostileUser, time.Now().Unix())
	}
	if _, err := conn.Produce("click_events", 0, -1, probe.BuildBatch(clicks...)); err != nil {
		t.Fatal(err)
	}
	return b
}

// look runs the browser on the broker's page.
func look(t *testing.T, b *target.Broker) seen {
	t.Helper()
	chromium, err := foreign.Chromium()
	if err != nil {
		leaveOut(t, err)
	}
	node, dir, err := foreign.Playwright()
	if err != nil {
		leaveOut(t, err)
	}
	screenshot := filepath.Join(foreign.Cache(), "page.png")
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, foreign.Source("browser", "page.cjs"), b.HTTP, chromium, screenshot)
	cmd.Env = append(os.Environ(), "NODE_PATH="+dir+"/node_modules")
	cmd.SysProcAttr = target.Orphanless()
	var complaints strings.Builder
	cmd.Stderr = &complaints
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("the browser failed: %v\n%s\n%s", err, complaints.String(), b.LogTail())
	}
	var page seen
	if err := json.Unmarshal(raw, &page); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	t.Logf("screenshot: %s", screenshot)
	return page
}

func leaveOut(t *testing.T, why error) {
	t.Helper()
	foreign.LeaveOut("the page in Chromium", why)
	t.Skipf("LEFT OUT: the page in Chromium: %v", why)
}
