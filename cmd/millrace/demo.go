package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"millrace/internal/clicks"
	"millrace/internal/client"
	"millrace/record"
)

const demoHelp = `Send simulated clicks to the topic click_events of any Kafka cluster: few users and
pages get most of them, as in life. Each event says "demo":true, and the page shows
DEMO as long as such clicks are among those counted.

Ctrl-C, or -n, ends it: what was sent is flushed, and the number of acknowledged
clicks is printed.`

const demoExample = `  millrace demo                        # 200 clicks per second until Ctrl-C
  millrace demo -n 10000 --rate 0       # 10,000 clicks as fast as possible
  millrace demo --users 100000 --skew 1.01 --keyed --brokers kafka:9092`

// demoPlan says how many simulated clicks to send, and how.
type demoPlan struct {
	rate  float64 // per second; 0 as fast as possible
	count int64   // 0 until the context ends
	keyed bool    // key = user
}

func (a *app) demoCommand() *cobra.Command {
	var (
		plan    demoPlan
		options clicks.DemoOptions
		to      cluster
		out     output
	)
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Send simulated clicks to any Kafka cluster",
		Long:    demoHelp,
		Example: demoExample,
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case plan.rate < 0 || plan.rate > maxRate:
				return usage(fmt.Sprintf("use 0 (as fast as possible) to %d", maxRate), "--rate is %v", plan.rate)
			case plan.count < 0:
				return usage("use 1 or more, or leave it away to go on until Ctrl-C", "-n is %d", plan.count)
			case options.Users < 1:
				return usage("use at least 1", "--users is %d", options.Users)
			case options.Skew <= 1:
				return usage("use a number above 1, such as 1.1; more is steeper", "--skew is %v", options.Skew)
			}
			config, err := to.config()
			if err != nil {
				return err
			}
			return a.demo(cmd.Context(), config, clicks.NewDemo(options), plan, out)
		},
	}
	flags := cmd.Flags()
	flags.Float64Var(&plan.rate, "rate", 200, "clicks per second; 0 is as fast as possible")
	flags.Int64VarP(&plan.count, "count", "n", 0, "number of clicks (default: until Ctrl-C)")
	flags.BoolVar(&plan.keyed, "keyed", false, "key each record by its user, so that a user's clicks share a partition")
	flags.IntVar(&options.Users, "users", 1000, "distinct users")
	flags.Float64Var(&options.Skew, "skew", 1.1, "above 1: how much the busiest users stand out")
	flags.Uint64Var(&options.Seed, "seed", 0, "repeat the clicks of this seed (default: new ones)")
	to.register(cmd)
	out.register(cmd)
	return cmd
}

func (a *app) demo(ctx context.Context, config client.Config, demo *clicks.Demo, plan demoPlan, out output) error {
	if err := client.Check(ctx, config); err != nil {
		return err
	}
	producer, err := client.NewProducer(config, nil)
	if err != nil {
		return err
	}
	defer producer.Close()
	a.say("sending simulated clicks to %s; Ctrl-C ends", clicks.Topic)
	if err := sendDemo(ctx, producer, demo, plan); err != nil {
		return err
	}
	return a.settle(producer, config.Acks, string(clicks.Topic), out)
}

// sendDemo sends clicks as plan says; it returns nil when ctx ends.
func sendDemo(ctx context.Context, producer *client.Producer, demo *clicks.Demo, plan demoPlan) error {
	p := pace{perSecond: plan.rate}
	for sent := int64(0); plan.count == 0 || sent < plan.count; sent++ {
		if !p.next(ctx) {
			return nil
		}
		user, event := demo.Next(time.Now())
		r := record.Record{TopicPartition: record.TopicPartition{Topic: clicks.Topic}, Value: event}
		if plan.keyed {
			r.Key = []byte(user)
		}
		if err := producer.Send(ctx, r); err != nil {
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
	}
	return nil
}
