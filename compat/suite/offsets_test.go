package suite

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"millrace/compat/probe"
	"millrace/compat/target"
)

// TestOffsetsStaySmall commits a million offsets in a hundred groups: what is
// left of __consumer_offsets on disk is less than 10 MB, and right.
func TestOffsetsStaySmall(t *testing.T) {
	const groups, partitions, rounds, mostBytes = 100, 100, 100, 10_000_000
	b := ownBroker(t, target.Options{Properties: []string{"offsets.topic.segment.bytes=1048576", "log.cleaner.backoff.ms=500"}})
	topic := newTopic(t)
	conn := dial(t, b)
	if err := conn.CreateTopic(topic, partitions); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.MaxVersions(kversion.V4_0_0())) // newer requests name topics by their ids
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var committing sync.WaitGroup
	for g := range groups {
		committing.Go(func() {
			for round := range rounds {
				if err := commitAll(t, client, fmt.Sprintf("%s-%d", topic, g), topic, partitions, int64(round+1)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	committing.Wait()
	size := int64(0)
	for deadline := time.Now().Add(3 * soon); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if size = offsetsBytes(b); size < mostBytes {
			break
		}
	}
	t.Logf("%d commits have left %d bytes", groups*partitions*rounds, size)
	if size >= mostBytes {
		t.Errorf("__consumer_offsets is %d bytes", size)
	}
	restart(t, b)
	conn = dial(t, b)
	for g := range groups {
		group := fmt.Sprintf("%s-%d", topic, g)
		if offset, err := committedAgain(conn, group, topic, int32(g)); err != nil || offset != rounds {
			t.Errorf("group %s is at %d (%v), want %d", group, offset, err, rounds)
		}
	}
}

// commitAll commits one offset for every partition of a topic.
func commitAll(t *testing.T, client *kgo.Client, group, topic string, partitions int, offset int64) error {
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group, request.Generation = group, -1
	all := kmsg.NewOffsetCommitRequestTopic()
	all.Topic = topic
	for p := range partitions {
		one := kmsg.NewOffsetCommitRequestTopicPartition()
		one.Partition, one.Offset = int32(p), offset
		all.Partitions = append(all.Partitions, one)
	}
	request.Topics = append(request.Topics, all)
	const loading, notCoordinator = 14, 16
	for deadline := time.Now().Add(soon); ; time.Sleep(20 * time.Millisecond) {
		answer, err := request.RequestWith(t.Context(), client)
		if err != nil {
			return err
		}
		switch code := answer.Topics[0].Partitions[0].ErrorCode; {
		case code == 0:
			return nil
		case code != loading && code != notCoordinator || time.Now().After(deadline):
			return fmt.Errorf("commit of group %s: Kafka error code %d", group, code)
		}
	}
}

// offsetsBytes is the size of the logs of __consumer_offsets on disk.
func offsetsBytes(b *target.Broker) int64 {
	total := int64(0)
	folders, _ := filepath.Glob(filepath.Join(b.DataDir, "__consumer_offsets-*"))
	for _, folder := range folders {
		files, _ := filepath.Glob(filepath.Join(folder, "*.log"))
		for _, file := range files {
			if info, err := os.Stat(file); err == nil {
				total += info.Size()
			}
		}
	}
	return total
}

// committedAgain asks for a committed offset, again while the coordinator loads.
func committedAgain(conn *probe.Conn, group, topic string, partition int32) (int64, error) {
	for deadline := time.Now().Add(soon); ; time.Sleep(20 * time.Millisecond) {
		offset, err := conn.Committed(group, topic, partition)
		if err == nil || time.Now().After(deadline) {
			return offset, err
		}
	}
}
