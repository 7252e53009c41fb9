package broker_test

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/broker"
)

// idleClientsEnv makes this test binary a client that holds connections open:
// two processes, because one may not open enough files for both ends.
const idleClientsEnv = "MILLRACE_TEST_IDLE_CLIENTS" // ADDR NUMBER

// holdIdleConnections opens the connections, has each answered once, says so on
// stdout, and holds them until stdin ends.
func holdIdleConnections(order string) error {
	addr, count, _ := strings.Cut(order, " ")
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	hello := kmsg.NewRequestFormatter().AppendRequest(nil, kmsg.NewPtrApiVersionsRequest(), 1)
	for range n {
		socket, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		defer socket.Close()
		if _, err := socket.Write(hello); err != nil {
			return err
		}
		if _, err := socket.Read(make([]byte, 1024)); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1)) // ends with the parent
	return nil
}

// R16: 10,000 partitions can be made, written, read and opened again.
func TestTenThousandPartitions(t *testing.T) {
	const partitions = 10_000
	dir := openDir(t, t.TempDir())
	n := serve(t, broker.Config{FS: dir})
	c := dial(t, n.addr)
	began := time.Now()
	c.createTopic("wide", partitions/2)
	var names []string
	req := kmsg.NewPtrCreateTopicsRequest()
	for i := range partitions / 2 / 10 {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = fmt.Sprint("narrow-", i), 10, 1
		names = append(names, topic.Topic)
		req.Topics = append(req.Topics, topic)
	}
	for _, r := range call[*kmsg.CreateTopicsResponse](c, 5, req).Topics {
		if r.ErrorCode != 0 {
			t.Fatalf("%s: code %d %s", r.Topic, r.ErrorCode, deref(r.ErrorMessage))
		}
	}
	t.Logf("made in %v", time.Since(began))
	for p := int32(0); p < partitions/2; p += 100 {
		c.mustProduce("wide", p, "x")
	}
	for i := 0; i < len(names); i += 50 {
		c.mustProduce(names[i], 9, "y")
	}
	n.stop(t)

	began = time.Now()
	n = serve(t, broker.Config{FS: dir})
	t.Logf("opened in %v", time.Since(began))
	c = dial(t, n.addr)
	if got := len(c.metadata(false, "wide")[0].Partitions); got != partitions/2 {
		t.Errorf("%d partitions after a restart", got)
	}
	fetch := fetchAsk("wide", 0, 0) // one fetch over all of them
	fetch.Topics[0].Partitions = nil
	for p := range int32(partitions / 2) {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.PartitionMaxBytes = p, 1<<20
		fetch.Topics[0].Partitions = append(fetch.Topics[0].Partitions, rp)
	}
	found := 0
	for _, p := range call[*kmsg.FetchResponse](c, 12, fetch).Topics[0].Partitions {
		if p.ErrorCode != 0 {
			t.Errorf("partition %d: code %d", p.Partition, p.ErrorCode)
		}
		found += len(values(t, p.RecordBatches))
	}
	if found != partitions/2/100 {
		t.Errorf("found %d records, want %d", found, partitions/2/100)
	}
	for i := 0; i < len(names); i += 50 {
		if got := values(t, c.fetch(fetchAsk(names[i], 9, 0)).RecordBatches); len(got) != 1 {
			t.Errorf("%s holds %v", names[i], got)
		}
	}
}
