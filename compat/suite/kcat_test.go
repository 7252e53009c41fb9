package suite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/compat/foreign"
	"millrace/compat/probe"
	"millrace/compat/target"
)

// TestKCatCodecs sends 500 equal lines of 1 kB with each codec. librdkafka
// falls back to no compression when it believes that the broker is too old for
// a codec, so what lies in the log decides, not that it arrived.
func TestKCatCodecs(t *testing.T) {
	kcat, err := foreign.KCat()
	if err != nil {
		leaveOut(t, "kcat", err)
	}
	const count = 500
	line := strings.Repeat("0123456789abcdef", 64)
	file := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(file, []byte(strings.Repeat(line+"\n", count)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		t.Run(codec, func(t *testing.T) {
			b, topic := sharedBroker(t), newTopic(t)
			output(t, soon, kcat, "-P", "-b", b.Addr, "-t", topic, "-z", codec, "-l", file)
			records, bytes := checkCodec(t, b, topic, codec)
			if records != count {
				t.Errorf("%d records are stored, want %d", records, count)
			}
			if codec != "none" && bytes > count*len(line)/5 {
				t.Errorf("%d bytes are stored: that is not compressed", bytes)
			}
			back := output(t, soon, kcat, "-C", "-q", "-b", b.Addr, "-t", topic, "-o", "beginning", "-e")
			if want := strings.Repeat(line+"\n", count); back != want {
				t.Errorf("kcat read back %d bytes, want %d equal lines", len(back), count)
			}
		})
	}
}

// checkCodec checks that every stored batch names the codec and inflates to as
// many records as it says, and returns how much there is.
func checkCodec(t *testing.T, b *target.Broker, topic, codec string) (records, bytes int) {
	t.Helper()
	conn := dial(t, b)
	partitions, err := conn.Partitions(topic)
	if err != nil {
		t.Fatal(err)
	}
	for p := range int32(partitions) {
		err := conn.ReadAll(topic, p, 0, func(batch probe.Batch) error {
			if got := batch.Codec().String(); got != codec {
				t.Errorf("%s-%d: the batch at %d is stored with codec %s", topic, p, batch.Base, got)
			}
			all, err := batch.Records()
			records += len(all)
			bytes += batch.Bytes
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return records, bytes
}

// TestKCatGroup reads through kcat's balanced consumer, which commits and
// leaves at its end.
func TestKCatGroup(t *testing.T) {
	kcat, err := foreign.KCat()
	if err != nil {
		leaveOut(t, "kcat", err)
	}
	b, topic := sharedBroker(t), newTopic(t)
	file := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(file, []byte(strings.Repeat("one line\n", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	output(t, soon, kcat, "-P", "-b", b.Addr, "-t", topic, "-l", file)
	read := func() int {
		return strings.Count(output(t, soon, kcat, "-b", b.Addr, "-q", "-e", "-X", "auto.offset.reset=earliest",
			"-G", topic+"-group", topic), "one line\n")
	}
	if n := read(); n != 100 {
		t.Errorf("the group read %d lines, want 100", n)
	}
	if n := read(); n != 0 {
		t.Errorf("the group read %d lines again", n)
	}
	output(t, soon, kcat, "-L", "-b", b.Addr, "-t", topic)
}

// TestTruncationDetected is a power cut under a reader: the broker comes back
// without the last records, others are appended, and the reader stands at an
// offset that now holds something else. Leader epochs let librdkafka notice;
// without them it would go on reading silently.
func TestTruncationDetected(t *testing.T) {
	python, err := foreign.Python("confluent-kafka", confluentPackage)
	if err != nil {
		leaveOut(t, "truncation detection by librdkafka", err)
	}
	confluent := clients[2]
	b, topic := ownBroker(t, target.Options{}), newTopic(t)
	if err := dial(t, b).CreateTopic(topic, 1); err != nil {
		t.Fatal(err)
	}
	const count = 20
	confluent.produce(t, b, topic, 0, count, 20*time.Millisecond).finish(t, soon)
	reader := start(t, nil, python, foreign.Source("clients", "python", "truncation.py"), b.Addr, topic, "20")
	reader.until(t, soon, "all records", nth(count, func(e event) bool { return e.Read != nil }))
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	loseTail(t, b, topic, count/2)
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	confluent.produce(t, b, topic, 1000, 2*count, 0).finish(t, soon)
	events := reader.finish(t, soon)
	for _, e := range events {
		if e.Truncated {
			t.Logf("librdkafka: %s", e.Error)
			return
		}
	}
	t.Errorf("librdkafka did not detect the truncation: %+v", events)
}

// loseTail does to the first segment of a stopped broker's partition 0 what a
// power cut may do before the first sync: the file ends inside the batch that
// holds offset, and no recovery point was written.
func loseTail(t *testing.T, b *target.Broker, topic string, offset int64) {
	t.Helper()
	path := logFiles(t, b, topic+"-0", ".log")[0]
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	batches, err := probe.Batches(raw)
	if err != nil {
		t.Fatal(err)
	}
	cut := 0
	for _, batch := range batches {
		if batch.Base+int64(batch.LastDelta) >= offset {
			cut += batch.Bytes / 2
			break
		}
		cut += batch.Bytes
	}
	if cut == 0 || cut >= len(raw) {
		t.Fatalf("cannot cut %s of %d bytes inside the batch of offset %d", path, len(raw), offset)
	}
	if err := os.Truncate(path, int64(cut)); err != nil {
		t.Fatal(err)
	}
	checkpoints, _ := filepath.Glob(filepath.Join(b.DataDir, "recovery-point-offset-checkpoint"))
	for _, path := range checkpoints {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// logFiles returns the files of one partition that end in suffix, by name.
func logFiles(t *testing.T, b *target.Broker, partition, suffix string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(b.DataDir, partition, "*"+suffix))
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s files in %s of %s (%v)", suffix, partition, b.DataDir, err)
	}
	return files
}
