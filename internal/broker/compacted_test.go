package broker_test

import (
	"strings"
	"testing"

	"millrace/internal/batch"
)

// On a compacted topic a record needs a key, and nothing deletes but a tombstone.
func TestCompactedTopicRefusals(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("latest", 1, "cleanup.policy", "compact")
	c.createTopic("both", 1, "cleanup.policy", "compact,delete")
	for _, codec := range []batch.Codec{batch.None, batch.Gzip, batch.Zstd} {
		for _, topic := range []string{"latest", "both"} {
			keyless := build(t, batch.BuilderOptions{ProducerID: batch.NoProducerID, Codec: codec}, "x")
			if r := c.produce(-1, topic, 0, keyless); r.ErrorCode != 87 || !strings.Contains(deref(r.ErrorMessage), "key") {
				t.Errorf("%s, %s: code %d, %s", topic, codec, r.ErrorCode, deref(r.ErrorMessage))
			}
		}
	}
	garbage := changed(records(t, "x"), func(b []byte) { b[22] |= byte(batch.Gzip) })
	if r := c.produce(-1, "latest", 0, garbage); r.ErrorCode != 87 {
		t.Errorf("records that cannot be decompressed: code %d, %s", r.ErrorCode, deref(r.ErrorMessage))
	}
	b := batch.NewBuilder(batch.BuilderOptions{ProducerID: batch.NoProducerID, Codec: batch.LZ4})
	b.Append(1, []byte("key"), nil, nil)
	tombstone, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"latest", "both"} {
		if r := c.produce(-1, topic, 0, append([]byte(nil), tombstone...)); r.ErrorCode != 0 {
			t.Errorf("%s: code %d, %s", topic, r.ErrorCode, deref(r.ErrorMessage))
		}
	}
	if r := c.deleteRecords("latest", 0, -1); r.ErrorCode != 44 {
		t.Errorf("delete records: code %d, want POLICY_VIOLATION", r.ErrorCode)
	}
	if r := c.deleteRecords("both", 0, -1); r.ErrorCode != 0 || r.LowWatermark != 1 {
		t.Errorf("delete records of a topic that also deletes: code %d, start %d", r.ErrorCode, r.LowWatermark)
	}
}
