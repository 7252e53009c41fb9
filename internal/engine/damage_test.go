//go:build synctests

package engine

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
	"millrace/internal/client"
	"millrace/record"
)

// A damaged batch of the input stops the task that reads it, and the job says
// which partition it is. Nothing behind the damage is counted, and the task goes
// on where it stood when the broker has the batch again as it was.
func TestDamagedInputStopsItsTaskAndIsNamed(t *testing.T) {
	inWorld(t, keyedPlan("app"), 1, func(w *world) {
		a := w.node("a").start()
		w.feed(30)
		w.mustCatchUp()
		var damaged atomic.Bool
		damaged.Store(true)
		w.cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
			w.cluster.KeepControl()
			fetch := req.(*kmsg.FetchRequest)
			if fetch.Version < 13 || !damaged.Load() { // changelogs are read by name
				return nil, nil, false
			}
			return damagedAnswer(fetch), nil, true
		})
		before := len(w.all("out"))
		w.feed(30)
		time.Sleep(10 * time.Second)
		status := a.engine.Status()
		damage, named := errors.AsType[client.CorruptError](status.Err)
		if status.State != Degraded || !named || damage.Topic != "in" || damage.Partition != 0 {
			t.Errorf("the job is %s and says %v", status.State, status.Err)
		}
		if after := len(w.all("out")); after != before {
			t.Errorf("%d outputs of a damaged input", after-before)
		}
		damaged.Store(false)
		if err := a.leave(); err != nil {
			t.Fatal(err)
		}
		<-a.ended
		a.start()
		w.mustCatchUp()
		w.mustBeRight()
	})
}

// damagedAnswer has one batch, at the offset that is asked for, with a tipped bit.
func damagedAnswer(fetch *kmsg.FetchRequest) *kmsg.FetchResponse {
	response := fetch.ResponseKind().(*kmsg.FetchResponse)
	for _, t := range fetch.Topics {
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			b := batch.NewBuilder(batch.BuilderOptions{ProducerID: batch.NoProducerID})
			b.Append(1, []byte("key"), []byte("value"), nil)
			whole, _ := b.Build() // one record fits
			batch.SetBaseOffset(whole, record.Offset(p.FetchOffset))
			whole[len(whole)-2] ^= 1
			partition := kmsg.NewFetchResponseTopicPartition()
			partition.Partition, partition.RecordBatches = p.Partition, whole
			partition.HighWatermark, partition.LastStableOffset = p.FetchOffset+1, p.FetchOffset+1
			topic.Partitions = append(topic.Partitions, partition)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response
}
