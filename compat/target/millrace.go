package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"millrace/compat/foreign"
)

// readyWithin bounds the start of a broker, recovery included.
const readyWithin = 60 * time.Second

// HasFlag says whether a command of the built Millrace has a flag.
func HasFlag(command, flag string) bool {
	help, err := exec.Command(Binary(), command, "--help").Output()
	return err == nil && strings.Contains(string(help), "--"+flag+" ")
}

// Binary is the built Millrace. BINARY names another one than the checkout's.
func Binary() string {
	if path := os.Getenv("BINARY"); path != "" {
		return path
	}
	return filepath.Join(foreign.Checkout(), "bin", "millrace")
}

func (b *Broker) millraceArgv() []string {
	where := []string{"--http-addr", strings.TrimPrefix(b.HTTP, "http://"), "--data-dir", b.DataDir}
	if b.options.Brokers != "" {
		return slices.Concat([]string{Binary(), "serve", "--brokers", b.options.Brokers}, where, b.options.Args)
	}
	argv := append([]string{Binary(), "serve", "--kafka-addr", b.Addr}, where...)
	if b.options.Secured {
		argv = append(argv, b.millraceSecurity()...)
	}
	return append(argv, b.options.Args...)
}

// awaitReadyLine polls the file instead of reading a pipe: a pipe would need a
// reader that outlives this call, and a start takes tens of milliseconds.
func (b *Broker) awaitReadyLine(ctx context.Context, stdout string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		raw, err := os.ReadFile(stdout)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(raw)) {
			if strings.HasPrefix(line, "ready") && strings.HasSuffix(line, "\n") {
				return b.parseReady(strings.TrimSpace(line))
			}
		}
		select {
		case <-b.exited:
			return fmt.Errorf("it ended: %v", b.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("no ready line within %s: %w", readyWithin, ctx.Err())
		case <-time.After(500 * time.Microsecond):
		}
	}
}

// parseReady checks the line that scripts rely on:
//
//	ready … kafka=HOST:PORT http=http://HOST:PORT data=DIR
func (b *Broker) parseReady(line string) error {
	b.Ready = line
	found := map[string]string{}
	for _, word := range strings.Fields(line)[1:] {
		if name, value, ok := strings.Cut(word, "="); ok {
			found[name] = value
		}
	}
	var faults []error
	if b.options.Brokers == "" && found["kafka"] != b.Addr {
		faults = append(faults, fmt.Errorf("kafka=%s, want %s", found["kafka"], b.Addr))
	}
	if found["http"] != b.HTTP {
		faults = append(faults, fmt.Errorf("http=%s, want %s", found["http"], b.HTTP))
	}
	if b.options.Brokers == "" && found["data"] == "" {
		faults = append(faults, errors.New("data= is missing"))
	}
	if len(faults) > 0 {
		return fmt.Errorf("ready line %q: %w", line, errors.Join(faults...))
	}
	return nil
}
