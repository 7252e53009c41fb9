package main

import (
	"context"
	"fmt"
)

// wholeInput is what 10,000 users click who click once a second each: ten in a
// window of the alerts, sixty in a minute.
var wholeInput = input{users: 10_000, aSecond: 10_000}

// results measures the whole click job, with its four results, beside the count
// per user alone, both on a Kafka and of the same clicks.
func results(ctx context.Context, s settings, t *table) error {
	whole, single := millraces(), millraces(onlyCounts)
	for _, keyed := range []bool{false, true} {
		in, what := wholeInput, "four results, un-keyed"
		if keyed {
			in.keyed, what = true, "four results, keyed"
		}
		if err := against(ctx, s, t, what, in, s.events, whole, "one result", single, "<= 2.5x"); err != nil {
			return err
		}
	}
	return nil
}

// commits measures the count with commits every 100 ms beside the same with
// commits every 5 s, which is the longest that the command takes.
//
// There is no way to run Millrace without transactions, so what exactly-once
// costs cannot be measured by leaving it out. This is an upper bound: the second
// job writes and commits so seldom (after 4 M events at the latest) that it hardly pays
// for any commit, while the first pays for its transactions, and also for sending
// results and changes of state every 100 ms, as a job without transactions would
// have to. With a hundred users there are few of those: what is left are the
// transactions.
func commits(ctx context.Context, s settings, t *table) error {
	often, seldom := millraces(onlyCounts, "--commit-interval=100ms"), millraces(onlyCounts, "--commit-interval=5s")
	for _, c := range []struct {
		what string
		in   input
	}{
		{"100 users, keyed", input{keyed: true, users: 100}},
		{"10,000 users, keyed", input{keyed: true, users: 10_000}},
		{"10,000 users, un-keyed", input{users: 10_000}},
	} {
		what := "commits each 100 ms, bound of the cost of exactly once, " + c.what
		if err := against(ctx, s, t, what, c.in, 2*s.events, often, "each 5 s", seldom, "<= 1.05x"); err != nil {
			return err
		}
	}
	return nil
}

// against measures two jobs of Millrace on the same clicks. Which of them comes
// first changes from round to round.
func against(ctx context.Context, s settings, t *table, what string, in input, events int, one workers, name string, other workers, goal string) error {
	if t.withoutKafka {
		return nil
	}
	var costs, others jobCosts
	for round := range s.rounds {
		pair := []func() error{
			func() error { return costs.measure(ctx, in, events, one) },
			func() error { return others.measure(ctx, in, events, other) },
		}
		for i := range pair {
			if err := pair[(i+round)%2](); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
		}
	}
	t.compare(what+": CPU of job and broker per event", "µs", costs.cpu, name, others.cpu, goal)
	t.compare("the same, of the job alone", "µs", costs.jobCPU, name, others.jobCPU, "-")
	t.compare("the same, number of commits", "commits", costs.commits, name, others.commits, "-")
	return nil
}
