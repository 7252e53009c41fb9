package target

import (
	"fmt"
	"syscall"
	"time"
)

// Pause stops the process for a while, as a swapped-out or frozen machine does,
// and lets it go on.
func (b *Broker) Pause(d time.Duration) error {
	if err := b.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("pause %s: %w", b.Kind, err)
	}
	time.Sleep(d)
	return b.cmd.Process.Signal(syscall.SIGCONT)
}
