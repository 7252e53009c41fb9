package millrace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"millrace/internal/broker"
	"millrace/internal/vfs"
)

// Embedded runs the job on a broker in this process, with data and state in
// dir. The broker is the one of "millrace serve": durable, and open to every
// Kafka client on localhost:9092, or where [Listen] says. Two processes cannot
// share a directory.
func Embedded(dir string) RunOption {
	return func(r *running) error {
		if dir == "" {
			return errors.New("the directory of the embedded broker is empty")
		}
		r.embedded = dir
		return nil
	}
}

// Listen is the address of the broker of [Embedded], HOST:PORT; port 0 takes a
// free one, which [OnReady] is told. The broker asks nobody for a password: an
// address that others reach lets them in.
func Listen(address string) RunOption {
	return func(r *running) error {
		r.listen = address
		return nil
	}
}

// stopWithin bounds how long the broker may take to stop behind the job.
const stopWithin = 5 * time.Second

// runEmbedded starts the broker, runs the job, and stops them in the opposite
// order: the job's last commit needs the broker.
func (r *running) runEmbedded(ctx context.Context, t *Topology) (err error) {
	if r.listen == "" {
		r.listen = "localhost:9092"
	}
	listeners, err := broker.Listen(ctx, r.listen)
	if err != nil {
		return fmt.Errorf("listen for Kafka clients: %w", err)
	}
	b, disk, err := r.openBroker()
	if err != nil {
		for _, l := range listeners {
			err = errors.Join(err, l.Close())
		}
		return err
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(listeners...) }()
	defer func() {
		stopping, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		err = errors.Join(err, b.Close(stopping), <-served, disk.Close())
	}()
	r.options.Client.Brokers = []string{listeners[0].Addr().String()}
	r.options.Client.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return b.Dial(ctx) }
	if r.options.Dir == "" {
		r.options.Dir = filepath.Join(r.embedded, ".jobs", t.Plan().App)
	}
	if r.options.InstanceID == "" {
		r.options.InstanceID = "embedded" // the only one: after a crash it takes its tasks back at once
	}
	return r.run(ctx, t)
}

func (r *running) openBroker() (*broker.Broker, *vfs.OS, error) {
	disk, err := vfs.OpenOS(r.embedded)
	if err != nil {
		return nil, nil, fmt.Errorf("open data directory: %w", err)
	}
	b, err := broker.Open(broker.Config{FS: disk, Logger: r.options.Logger, Registerer: r.options.Registerer})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open data directory %s: %w", r.embedded, err), disk.Close())
	}
	return b, disk, nil
}
