// Package foreign installs the programs of other projects that the suite runs,
// from package registries into one cache folder, and remembers what it could
// not get. Every function may be called often: what is there stays there.
//
// What is left out is said, never hidden: callers report an error of this
// package through LeaveOut, and print LeftOut at the end of their run.
package foreign

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// installWithin bounds one installation: a registry that does not answer costs
// this long once and then counts as left out.
const installWithin = 5 * time.Minute

// Checkout is the root of the repository around this module.
func Checkout() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Source is a path inside this module's folder.
func Source(elem ...string) string {
	return filepath.Join(append([]string{Checkout(), "compat"}, elem...)...)
}

// Cache is where everything lies that was installed or built for these tests.
// COMPAT_CACHE names another folder than .cache in the checkout.
func Cache() string {
	if dir := os.Getenv("COMPAT_CACHE"); dir != "" {
		return dir
	}
	return filepath.Join(Checkout(), ".cache")
}

// step is one command of an installation.
type step []string

// install runs steps once for a folder of the cache. The folder counts as
// installed when it holds the mark of exactly these steps and inputs, so a
// changed version installs anew, and half an installation does not count.
func install(folder string, inputs []string, steps ...step) (string, error) {
	dir := filepath.Join(Cache(), folder)
	mark := filepath.Join(dir, ".installed")
	want, err := fingerprint(inputs, steps)
	if err != nil {
		return "", err
	}
	unlock, err := lock(folder)
	if err != nil {
		return "", err
	}
	defer unlock()
	if have, err := os.ReadFile(mark); err == nil && string(have) == want {
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for _, s := range steps {
		if err := run(dir, s); err != nil {
			return "", err
		}
	}
	return dir, os.WriteFile(mark, []byte(want), 0o644)
}

// lock keeps two test processes from installing one thing at the same time.
func lock(folder string) (unlock func(), err error) {
	if err := os.MkdirAll(Cache(), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(Cache(), ".lock-"+folder), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

func fingerprint(inputs []string, steps []step) (string, error) {
	h := sha256.New()
	for _, s := range steps {
		fmt.Fprintf(h, "%q\n", []string(s))
	}
	for _, path := range inputs {
		raw, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		h.Write(raw)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func run(dir string, s step) error {
	ctx, cancel := context.WithTimeout(context.Background(), installWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, s[0], s[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return fmt.Errorf("%s: %w: %s", strings.Join(s, " "), err, lines[len(lines)-1])
}
