package broker_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"millrace/internal/broker"
)

// residentBytes is this process's memory as the operating system counts it.
func residentBytes(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// openFiles is wanted, or what this machine lets a process open beside its own.
func openFiles(wanted int) int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return min(wanted, 800)
	}
	return min(wanted, int(min(files.Cur, 1<<20))-200)
}

// R15: 10,000 idle connections, each of which has been served, fit into 300 MiB.
// Where fewer files may be open, fewer connections get the same share.
func TestTenThousandIdleConnections(t *testing.T) {
	connections := openFiles(10_000)
	bound := int64(connections) * (300 << 20) / 10_000
	n := serve(t, broker.Config{FS: openDir(t, t.TempDir()), MaxConnections: connections + 10, MaxConnectionsPerIP: connections + 10})
	before := residentBytes(t)
	client := exec.Command(os.Args[0])
	client.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", idleClientsEnv, n.addr, connections))
	client.Stderr = os.Stderr
	stdin, err := client.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := client.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Errorf("the clients say %q: %v", line, err)
	}
	grown := residentBytes(t) - before
	t.Logf("%d connections: %d MiB, %d bytes each", connections, grown>>20, grown/int64(connections))
	if grown > bound {
		t.Errorf("%d idle connections take %d MiB, the bound is %d", connections, grown>>20, bound>>20)
	}
	dial(t, n.addr).expectAlive()
	_ = stdin.Close()
	if err := client.Wait(); err != nil {
		t.Errorf("the clients: %v", err)
	}
}
