package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"millrace/compat/probe"
	"millrace/compat/target"
)

const (
	// manyConnections is the limit of 10,000 less a few: the click job in the
	// same process is a client too.
	manyConnections = 9_990
	// perAddress stays below the limit of connections per client address.
	perAddress = 200
	// manyTopics times partitionsPerTopic is 10,000.
	manyTopics         = 100
	partitionsPerTopic = 100
)

// connections opens close to 10,000 connections from 50 loopback addresses, each of
// which has said its first word, and reads the broker's memory.
func connections(ctx context.Context, s settings, t *table) error {
	b, err := target.Start(ctx, target.Options{Kind: s.kind})
	if err != nil {
		return err
	}
	defer b.Close()
	var open []net.Conn
	defer func() {
		for _, conn := range open {
			conn.Close()
		}
	}()
	for i := range manyConnections {
		conn, err := dialFrom(ctx, net.IPv4(127, 0, 1, byte(1+i/perAddress)), b.Addr)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i+1, err)
		}
		open = append(open, conn)
	}
	m, err := idle(ctx, b)
	if err != nil {
		return err
	}
	t.alone("RSS with 9,990 idle connections", "MiB", m.RSS, "<= 300 MiB")
	return nil
}

func dialFrom(ctx context.Context, from net.IP, addr string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := probe.Greet(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// partitions creates 10,000 of them, writes to each, kills the broker and
// reads one record of each back.
func partitions(ctx context.Context, s settings, t *table) error {
	b, err := target.Start(ctx, target.Options{Kind: s.kind})
	if err != nil {
		return err
	}
	defer b.Close()
	conn, err := probe.Dial(ctx, b.Addr)
	if err != nil {
		return err
	}
	began := time.Now()
	err = eachTopic(func(topic string) error { return conn.CreateTopic(topic, partitionsPerTopic) })
	if err != nil {
		return err
	}
	created := time.Since(began)
	batch := click()
	err = eachPartition(func(topic string, p int32) error {
		_, err := conn.Produce(topic, p, 1, batch)
		return err
	})
	if err != nil {
		return err
	}
	m, err := idle(ctx, b)
	if err != nil {
		return err
	}
	conn.Close()
	if err := b.Kill(); err != nil {
		return err
	}
	if err := b.Start(ctx); err != nil {
		return err
	}
	if conn, err = probe.Dial(ctx, b.Addr); err != nil {
		return err
	}
	defer conn.Close()
	err = eachPartition(func(topic string, p int32) error {
		end, err := conn.Offset(topic, p, probe.Latest)
		if err == nil && end != 1 {
			err = fmt.Errorf("%s-%d ends at %d, want 1", topic, p, end)
		}
		return err
	})
	if err != nil {
		return err
	}
	t.alone("10,000 partitions: create them", "s", created.Seconds(), "usable")
	t.alone("10,000 partitions: RSS", "MiB", m.RSS, "< 300 MiB")
	t.alone("10,000 partitions: exec to ready after kill -9", "ms", float64(b.StartTook.Milliseconds()), "-")
	return nil
}

func eachTopic(do func(topic string) error) error {
	for i := range manyTopics {
		if err := do(fmt.Sprintf("many-%03d", i)); err != nil {
			return err
		}
	}
	return nil
}

func eachPartition(do func(topic string, p int32) error) error {
	return eachTopic(func(topic string) error {
		for p := range int32(partitionsPerTopic) {
			if err := do(topic, p); err != nil {
				return err
			}
		}
		return nil
	})
}
