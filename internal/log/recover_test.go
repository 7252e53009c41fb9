package log

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/internal/batch"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

const firstFile = "clicks-0/00000000000000000000.log"

// unsyncedLog is a disk after a kill, with a log of n batches of which a start
// must prove every byte, and where those batches end.
func unsyncedLog(t *testing.T, n int, value func(i int) string) (*crashfs.FS, []int64) {
	t.Helper()
	disk := crashfs.New()
	l := create(t, openFS(t, disk, Options{CheckpointInterval: time.Hour}), Config{})
	ends := make([]int64, n)
	for i := range n {
		appendSync(t, l, makeBatch(noProducer, 1_700_000_000_000+int64(i), value(i)))
		ends[i] = l.SizeBytes()
	}
	return disk.Clone(), ends
}

func numbered(i int) string { return fmt.Sprintf("value-%d", i) }

// recovered opens what is left and gives the log and its report.
func openLeft(t *testing.T, disk *crashfs.FS) (*Store, *Log, PartitionReport) {
	t.Helper()
	s, err := Open(disk, Options{CheckpointInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	report := PartitionReport{}
	if all := s.Report().Partitions; len(all) > 0 {
		report = all[0]
	}
	return s, theLog(t, s), report
}

func TestR11TornTailAtEveryByte(t *testing.T) {
	const batches = 6
	disk, ends := unsyncedLog(t, batches, numbered)
	content, _ := disk.ReadFile(firstFile)
	for size := ends[batches-4]; size < ends[batches-1]; size++ {
		for _, zeros := range []int64{0, ends[batches-1] - size} { // the file may have its new size, but not its bytes
			if zeros > 0 && zeros < zeroTail {
				continue
			}
			left := disk.Clone()
			damaged := append(bytes.Clone(content[:size]), make([]byte, zeros)...)
			if err := left.Put(firstFile, damaged); err != nil {
				t.Fatal(err)
			}
			whole := 0
			for bytes.HasPrefix(damaged, content[:ends[whole]]) { // a batch may end in zeros
				whole++
			}
			fileSize, wholeEnd := size+zeros, ends[whole-1]
			s, l, report := openLeft(t, left)
			switch {
			case l.NextOffset() != record.Offset(whole) || l.SizeBytes() != wholeEnd:
				t.Fatalf("cut at %d, then %d zeros: next offset %d in %d bytes, want %d in %d", size, zeros, l.NextOffset(), l.SizeBytes(), whole, wholeEnd)
			case report.CutBytes != fileSize-wholeEnd || len(report.CorruptRanges) > 0:
				t.Fatalf("cut at %d, then %d zeros: report %+v, want %d bytes cut", size, zeros, report, fileSize-wholeEnd)
			case fileSize > wholeEnd && l.LeaderEpoch() != 1:
				t.Fatalf("cut at %d: leader epoch %d", size, l.LeaderEpoch())
			}
			readAll(t, l, 0)
			if a := appendSync(t, l, makeBatch(noProducer, 1_700_000_000_000, numbered(whole))); a.Base != record.Offset(whole) {
				t.Fatalf("cut at %d: the next record got offset %d", size, a.Base)
			}
			readAll(t, l, 0)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestGarbageBehindTheEndIsCut(t *testing.T) {
	disk, ends := unsyncedLog(t, 4, numbered)
	content, _ := disk.ReadFile(firstFile)
	for _, garbage := range []string{"x", "not a batch", strings.Repeat("garbage ", 100), strings.Repeat("\xff\xa5", 300), strings.Repeat("\x00", 5000)} {
		left := disk.Clone()
		if err := left.Put(firstFile, append(content[:ends[3]:ends[3]], garbage...)); err != nil {
			t.Fatal(err)
		}
		s, l, report := openLeft(t, left)
		if l.NextOffset() != 4 || report.CutBytes != int64(len(garbage)) || len(report.CorruptRanges) > 0 {
			t.Errorf("%.10q: next offset %d, report %+v", garbage, l.NextOffset(), report)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A power cut loses sectors: whichever sector of an unsynced batch it is, the
// batch and all behind it go, and nothing is called corrupt.
func TestALostSectorTearsTheBatch(t *testing.T) {
	value := func(i int) string { return strings.Repeat(fmt.Sprint(i+1), 700+i*13) }
	disk, ends := unsyncedLog(t, 8, value)
	content, _ := disk.ReadFile(firstFile)
	for sector := int64(0); sector*512 < int64(len(content)); sector++ {
		from, to := sector*512, min(sector*512+512, int64(len(content)))
		for first := range ends { // the batches before it were synced
			start := int64(0)
			if first > 0 {
				start = ends[first-1]
			}
			if start >= to || ends[first] <= from {
				continue
			}
			damaged := append([]byte(nil), content...)
			clear(damaged[max(from, start):to])
			left := disk.Clone()
			if err := left.Put(firstFile, damaged); err != nil {
				t.Fatal(err)
			}
			s, l, report := openLeft(t, left)
			if l.NextOffset() != record.Offset(first) || len(report.CorruptRanges) > 0 || report.CutBytes != ends[7]-start {
				t.Errorf("sector %d of batch %d lost: next offset %d, report %+v", sector, first, l.NextOffset(), report)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Rot flips bits: whichever bit of the log it is, only its batch is lost, it is
// reported, and no offset is given twice.
func TestEveryFlippedBitIsFoundAndNothingIsCut(t *testing.T) {
	const batches = 5
	unclean, ends := unsyncedLog(t, batches, numbered)
	clean := unclean.Clone()
	s := openFS(t, clean, Options{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, disk := range map[string]*crashfs.FS{"above the recovery point": unclean, "after a clean stop": clean} {
		t.Run(name, func(t *testing.T) {
			for bit := range 8 * ends[batches-1] {
				checkFlip(t, disk.Clone(), bit, ends)
			}
		})
	}
}

func checkFlip(t *testing.T, disk *crashfs.FS, bit int64, ends []int64) {
	t.Helper()
	if err := disk.FlipBit(firstFile, bit); err != nil {
		t.Fatal(err)
	}
	hit := 0
	for ends[hit] <= bit/8 {
		hit++
	}
	s, l, report := openLeft(t, disk)
	defer s.Close()
	n := record.Offset(len(ends))
	if report.CutBytes > 0 || l.NextOffset() < n {
		t.Fatalf("bit %d: next offset %d, %d bytes cut", bit, l.NextOffset(), report.CutBytes)
	}
	served := 0
	for off := record.Offset(0); off < l.HighWatermark(); {
		data, err := l.Read(off, 1<<20, nil)
		var damage *CorruptError
		if errors.As(err, &damage) {
			if damage.Offset != record.Offset(hit) {
				t.Fatalf("bit %d of batch %d: damage at %d", bit, hit, damage.Offset)
			}
			if hit < len(ends)-1 && damage.Next != record.Offset(hit+1) {
				t.Fatalf("bit %d of batch %d: the damage ends at %d", bit, hit, damage.Next)
			}
			off = damage.Next
			continue
		}
		if err != nil {
			t.Fatalf("bit %d: %v", bit, err)
		}
		next := checkData(t, data, off)
		served += int(next - off)
		off = next
	}
	if served != len(ends)-1 {
		t.Fatalf("bit %d of batch %d: %d records served, want %d", bit, hit, served, len(ends)-1)
	}
	a := appendSync(t, l, makeBatch(noProducer, 1_700_000_000_000, "more"))
	if a.Base < n {
		t.Fatalf("bit %d: offset %d was given twice", bit, a.Base)
	}
}

// smallFiles is a disk after a clean stop with one file of each small kind, and
// what must be true of it.
func smallFiles(t *testing.T) *crashfs.FS {
	t.Helper()
	disk := crashfs.New()
	cfg := DefaultConfig()
	cfg.SegmentBytes, cfg.IndexIntervalBytes = 1000, 100
	cfg.RetentionMs = -1
	s := openFS(t, disk, Options{})
	l := create(t, s, cfg)
	for i := range 30 {
		appendSync(t, l, makeBatch(producerSpec{id: 7, sequence: int32(i)}, 1_700_000_000_000+int64(i), numbered(i)))
	}
	if _, err := l.DeleteRecords(3); err != nil {
		t.Fatal(err)
	}
	left := disk.Clone() // a torn tail and its cut give a leader epoch
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	active := theSegment(t, left, len(l.Segments())-1).name
	content, _ := left.ReadFile(active)
	if err := left.Put(active, append(content, "torn"...)); err != nil {
		t.Fatal(err)
	}
	s = openFS(t, left, Options{})
	if got := theLog(t, s).LeaderEpoch(); got != 1 {
		t.Fatalf("leader epoch %d", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return left
}

// Whatever bit of a small file flips, or wherever it is cut: records are neither
// lost nor doubled nor wrong. Only a damaged identity of the whole directory may
// stop the start, with an error that names the file.
func TestSmallFilesMayBeDamaged(t *testing.T) {
	disk := smallFiles(t)
	kinds := map[string]int{}
	for _, name := range strings.Fields(disk.Tree()) {
		path := name
		if !strings.Contains(name, "/") && !isFile(disk, name) || strings.HasSuffix(name, "/") || strings.HasSuffix(name, ".log") {
			continue
		}
		content, err := disk.ReadFile(path)
		if err != nil {
			continue // a size
		}
		kinds[path[strings.LastIndexAny(path, "/.")+1:]]++
		for bit := range 8 * int64(len(content)) {
			checkSmall(t, disk, path, fmt.Sprintf("bit %d", bit), func(d *crashfs.FS) error { return d.FlipBit(path, bit) })
		}
		for size := range int64(len(content)) {
			checkSmall(t, disk, path, fmt.Sprintf("cut at %d", size), func(d *crashfs.FS) error { return d.Cut(path, size) })
		}
	}
	for _, kind := range []string{"index", "timeindex", "snapshot", "metadata", "properties", "leader-epoch-checkpoint",
		"recovery-point-offset-checkpoint", "log-start-offset-checkpoint", "millrace-identity", "kafka_cleanshutdown"} {
		if kinds[kind] == 0 {
			t.Errorf("no file of kind %s: %v", kind, kinds)
		}
	}
}

func isFile(disk *crashfs.FS, name string) bool {
	info, err := disk.Stat(name)
	return err == nil && !info.IsDir()
}

func checkSmall(t *testing.T, disk *crashfs.FS, path, how string, damage func(*crashfs.FS) error) {
	t.Helper()
	left := disk.Clone()
	if err := damage(left); err != nil {
		t.Fatal(err)
	}
	s, err := Open(left, Options{})
	if err != nil {
		if path != metaFile || !strings.Contains(err.Error(), metaFile) {
			t.Fatalf("%s, %s: %v", path, how, err)
		}
		return
	}
	defer s.Close()
	l := theLog(t, s)
	start := l.StartOffset()
	if start > 3 || l.NextOffset() != 30 {
		t.Fatalf("%s, %s: start %d, next offset %d", path, how, start, l.NextOffset())
	}
	readAll(t, l, start)
	for off := record.Offset(3); off < 30; off++ {
		data, err := l.Read(off, 1, nil)
		if err != nil || checkData(t, data, off) != off+1 {
			t.Fatalf("%s, %s: read %d: %v", path, how, off, err)
		}
		found, at, ok, err := l.OffsetForTime(record.Timestamp(1_700_000_000_000 + int64(off)))
		if err != nil || !ok || found != off || int64(at) != 1_700_000_000_000+int64(off) {
			t.Fatalf("%s, %s: the record of time %d is said to be %d: %v, %v", path, how, off, found, ok, err)
		}
	}
	if found, _, ok, err := l.MaxTimestamp(); err != nil || !ok || found != 29 {
		t.Fatalf("%s, %s: the newest record is said to be %d: %v, %v", path, how, found, ok, err)
	}
	a, err := l.Append(makeBatch(producerSpec{id: 7, sequence: 29}, 1_700_000_000_029, numbered(29)), AppendOptions{Sync: true})
	if err != nil || !a.Duplicate || a.Base != 29 {
		t.Fatalf("%s, %s: a repeated batch: duplicate %v at %d: %v", path, how, a.Duplicate, a.Base, err)
	}
	a, err = l.Append(makeBatch(producerSpec{id: 7, sequence: 30}, 1_700_000_000_030, numbered(30)), AppendOptions{})
	if err != nil || a.Base != 30 {
		t.Fatalf("%s, %s: the next batch: %d: %v", path, how, a.Base, err)
	}
	if path == metadataFileOf() {
		return
	}
	if l.TopicID() != [16]byte{1, 2, 3} {
		t.Fatalf("%s, %s: topic id %x", path, how, l.TopicID())
	}
}

func metadataFileOf() string { return tp0.String() + "/" + metadataFile }

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name string
		evidence
		want verdict
	}{
		{"the file ends inside", evidence{endsInside: true}, torn},
		{"a sector is lost", evidence{lostSector: true}, torn},
		{"a sector is lost, what is behind survived", evidence{lostSector: true, soundBehind: true}, torn},
		{"garbage", evidence{foreign: true}, torn},
		{"a flipped bit", evidence{oneBit: true}, rot},
		{"a flipped bit among zeros", evidence{oneBit: true, lostSector: true}, rot},
		{"a flipped length at the end", evidence{wholeToEnd: true, endsInside: true}, rot},
		{"a flipped length before sound batches", evidence{endsInside: true, soundBehind: true}, rot},
		{"garbage before sound batches", evidence{foreign: true, soundBehind: true}, rot},
		{"several flipped bits", evidence{}, rot},
	} {
		if got := judge(c.evidence); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestOneBitExplains(t *testing.T) {
	b := makeBatch(noProducer, 1_700_000_000_000, "value-0", "value-1")
	h, err := batch.ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	n := int64(len(b) - checksummed)
	for bit := range 8 * n {
		b[checksummed+bit/8] ^= 1 << (bit % 8)
		if sum := crcOf(b); !oneBitExplains(sum^h.CRC, n) {
			t.Fatalf("bit %d is not recognised", bit)
		}
		b[checksummed+bit/8] ^= 1 << (bit % 8)
	}
	clear(b[40:60])
	if oneBitExplains(crcOf(b)^h.CRC, n) {
		t.Error("a lost field passes for one flipped bit")
	}
}
