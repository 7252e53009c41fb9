package main

import (
	"context"
	"time"
)

// A server that was killed takes a moment to let go of its port and directory.
// A start right behind it waits that long instead of failing.
const (
	patience      = time.Second
	patientlyEach = 20 * time.Millisecond
)

// patiently repeats try while its error says that something is still in use,
// for as long as patience lasts.
func patiently(ctx context.Context, inUse func(error) bool, try func() error) error {
	for began := time.Now(); ; {
		err := try()
		if err == nil || !inUse(err) || time.Since(began) >= patience || !sleep(ctx, patientlyEach) {
			return err
		}
	}
}
