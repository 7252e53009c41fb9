// Command sarama is the client program for IBM/sarama: see ../../README.md.
package main

import (
	"context"
	"time"

	"github.com/IBM/sarama"

	"millrace/compat/clients/golang/line"
)

func main() { line.Main(produce, consume) }

func produce(_ context.Context, p line.Produce) error {
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true // what the synchronous producer requires
	producer, err := sarama.NewSyncProducer([]string{p.Broker}, config)
	if err != nil {
		return err
	}
	for n := p.First; n < p.First+p.Count; n++ {
		partition, offset, err := producer.SendMessage(&sarama.ProducerMessage{
			Topic: p.Topic, Value: sarama.ByteEncoder(line.Click(n)),
		})
		line.Acked(n, partition, offset, err)
		time.Sleep(p.Pace)
	}
	return producer.Close()
}

func consume(ctx context.Context, c line.Consume) error {
	config := sarama.NewConfig()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Group.InstanceId = c.Instance
	if c.Session > 0 {
		config.Consumer.Group.Session.Timeout = c.Session
		config.Consumer.Group.Heartbeat.Interval = c.Session / 3
	}
	group, err := sarama.NewConsumerGroup([]string{c.Broker}, c.Group, config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := &handler{topic: c.Topic, left: make(chan struct{}, max(1, c.Count)), enough: cancel, endless: c.Count == 0}
	for range c.Count {
		h.left <- struct{}{}
	}
	for ctx.Err() == nil {
		if err := group.Consume(ctx, []string{c.Topic}, h); err != nil && ctx.Err() == nil {
			time.Sleep(100 * time.Millisecond) // the broker may be restarting
		}
	}
	return group.Close()
}

// handler counts records down over all claims, which run concurrently.
type handler struct {
	topic   string
	left    chan struct{}
	enough  func()
	endless bool
}

func (h *handler) Setup(s sarama.ConsumerGroupSession) error {
	line.Assigned(s.Claims()[h.topic])
	return nil
}

func (h *handler) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (h *handler) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case <-s.Context().Done():
			return nil
		case m, open := <-claim.Messages():
			if !open || !h.take() {
				return nil
			}
			if err := line.Read(m.Value, m.Partition, m.Offset); err != nil {
				return err
			}
			s.MarkMessage(m, "")
			if !h.endless && len(h.left) == 0 {
				h.enough()
			}
		}
	}
}

func (h *handler) take() bool {
	if h.endless {
		return true
	}
	select {
	case <-h.left:
		return true
	default:
		return false
	}
}
