package counttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"millrace/compat/probe"
	"millrace/compat/target"
)

// embedded is one `millrace serve`.
type embedded struct{ node *target.Broker }

func startEmbedded(ctx context.Context) (world, error) {
	node, err := target.Start(ctx, target.Options{Kind: target.Millrace})
	if err != nil {
		return nil, err
	}
	return embedded{node}, nil
}

func (e embedded) brokers() string   { return e.node.Addr }
func (e embedded) queries() []string { return []string{e.node.HTTP} }
func (e embedded) words() string     { return e.node.LogTail() }
func (e embedded) close()            { e.node.Close() }

func (e embedded) fault(ctx context.Context, random *rand.Rand) (string, error) {
	switch chance := random.Float64(); {
	case chance < 0.15:
		return "paused", e.node.Pause(upTo(random, 2*time.Second))
	case chance < 0.3:
		return "killed twice", killTwice(ctx, e.node, upTo(random, 300*time.Millisecond))
	}
	return "killed", killAndStart(ctx, e.node)
}

func upTo(random *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(most)))
}

func killAndStart(ctx context.Context, b *target.Broker) error {
	if err := b.Kill(); err != nil {
		return err
	}
	return b.Start(ctx)
}

// killTwice kills a process, and again while it starts or restores.
func killTwice(ctx context.Context, b *target.Broker, after time.Duration) error {
	if err := b.Kill(); err != nil {
		return err
	}
	if err := b.StartAndKill(after); err != nil {
		return err
	}
	return b.Start(ctx)
}

// cluster is three Kafka brokers and three `millrace serve --brokers` on them.
type cluster struct {
	kafka     *target.Cluster
	instances []*target.Broker
}

const instances = 3

func startCluster(ctx context.Context) (world, error) {
	kafka, err := target.StartCluster(ctx, 3)
	if err != nil {
		return nil, err
	}
	c := &cluster{kafka: kafka}
	if err := c.start(ctx); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *cluster) start(ctx context.Context) error {
	conn, err := probe.Dial(ctx, c.kafka.Brokers[0].Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.CreateReplicated(inputTopic, 4, int16(len(c.kafka.Brokers))); err != nil {
		return err
	}
	for n := range instances {
		i, err := target.Start(ctx, target.Options{Kind: target.Millrace, Brokers: c.kafka.Addrs(),
			Args: []string{"--instance-id", fmt.Sprint("instance-", n)}})
		if err != nil {
			return err
		}
		c.instances = append(c.instances, i)
	}
	return nil
}

func (c *cluster) brokers() string { return c.kafka.Addrs() }

func (c *cluster) queries() []string {
	var all []string
	for _, i := range c.instances {
		all = append(all, i.HTTP)
	}
	return all
}

func (c *cluster) words() string {
	var all strings.Builder
	for _, i := range c.instances {
		all.WriteString(i.LogTail() + "\n")
	}
	return all.String()
}

func (c *cluster) close() {
	for _, i := range c.instances {
		i.Close()
	}
	c.kafka.Close()
}

func (c *cluster) fault(ctx context.Context, random *rand.Rand) (string, error) {
	instance := c.instances[random.IntN(len(c.instances))]
	switch chance := random.Float64(); {
	case chance < 0.2:
		return "instance paused", instance.Pause(upTo(random, 12*time.Second))
	case chance < 0.3:
		return "instance killed twice", killTwice(ctx, instance, upTo(random, time.Second))
	case chance < 0.5:
		return "broker killed", killAndStart(ctx, c.kafka.Brokers[random.IntN(len(c.kafka.Brokers))])
	}
	return "instance killed", killAndStart(ctx, instance)
}
