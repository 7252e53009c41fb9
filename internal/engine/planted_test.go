//go:build synctests

package engine

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/topology"
	"millrace/record"
)

// TestPlantedBugsAreCaught switches on one bug at a time and lets storms find
// it: if they do not, a storm that finds nothing means nothing.
func TestPlantedBugsAreCaught(t *testing.T) {
	bugs := map[string]func(*world){
		"tables move before the commit is known":   planted(func(f *faults) { f.applyEarly = true }),
		"an unknown outcome is taken for aborted":  planted(func(f *faults) { f.guessAborted = true }),
		"an unknown outcome is taken for a commit": planted(func(f *faults) { f.guessCommitted = true }),
		"open values reach the disk":               planted(func(f *faults) { f.flushOpen = true }),
		"a restore stops one record early":         planted(func(f *faults) { f.restoreOneShort = true }),
	}
	bugs["dead letters outside of the transaction"] = deadLettersApart
	bugs["no fence when the group moves on"] = unfenced
	const seeds = 120
	for name, plant := range bugs {
		t.Run(name, func(t *testing.T) {
			count := newTally()
			for seed := range uint64(seeds) {
				if wrong := runStorm(t, seed, plant, count, onFake); len(wrong) > 0 {
					t.Logf("caught by seed %d: %s", seed, wrong[0])
					return
				}
			}
			t.Errorf("%d storms have not noticed the bug", seeds)
		})
	}
}

// planted switches a bug on in every instance.
func planted(plant func(*faults)) func(*world) {
	return func(w *world) { w.planted = plant }
}

// unfenced takes all three fences away: instances do not fence those that are
// gone, do not hear that they are gone themselves, and their offsets go into the
// transaction without member id and generation.
func unfenced(w *world) {
	w.planted, w.deaf = func(f *faults) { f.noFence = true }, true
	w.forge = func(frame []byte) []byte {
		if int16(binary.BigEndian.Uint16(frame[4:])) != txnOffsetCommit {
			return frame
		}
		request := parseRequest(frame).(*kmsg.TxnOffsetCommitRequest)
		request.MemberID, request.Generation, request.InstanceID = "", -1, nil
		return kmsg.NewRequestFormatter().AppendRequest(nil, request, int32(binary.BigEndian.Uint32(frame[8:])))
	}
}

// deadLettersApart has the tasks send dead letters by a producer of their own.
func deadLettersApart(w *world) {
	apart := w.kafka()
	w.closing = append(w.closing, apart.Close)
	sub := &w.plan.Subs[0]
	tasks := sub.NewTask
	sub.NewTask = func(cfg topology.TaskConfig) (topology.Task, error) {
		task, err := tasks(cfg)
		return apartTask{task, apart}, err
	}
}

type apartTask struct {
	topology.Task
	apart *kgo.Client
}

func (t apartTask) Process(b *topology.Batch, out topology.Output) error {
	return t.Task.Process(b, apartOutput{out, t.apart})
}

type apartOutput struct {
	topology.Output
	apart *kgo.Client
}

func (o apartOutput) Send(sink int, to record.Partition, key, value []byte, ts record.Timestamp, headers []record.Header) {
	if strings.HasPrefix(string(value), poison) {
		o.apart.Produce(context.Background(), &kgo.Record{Topic: "in-dlq", Key: key, Value: value}, nil)
		return
	}
	o.Output.Send(sink, to, key, value, ts, headers)
}
