package log

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"millrace/internal/vfs"
	"millrace/record"
)

// Files in the root of the data directory, with Kafka's names and formats.
const (
	recoveryPointFile = "recovery-point-offset-checkpoint"
	logStartFile      = "log-start-offset-checkpoint"
	cleanFile         = ".kafka_cleanshutdown"
)

const tempSuffix = ".tmp"

// fileError says that a file's content is not what was written.
type fileError struct {
	path string
	err  error
}

func (e *fileError) Error() string { return fmt.Sprintf("%s is damaged: %v", e.path, e.err) }
func (e *fileError) Unwrap() error { return e.err }

// replaceFile makes name hold content, durably: after a crash there is the old
// content or the new one.
func replaceFile(fsys vfs.FS, name string, content []byte) error {
	if err := writeFile(fsys, name+tempSuffix, content); err != nil {
		return err
	}
	if err := fsys.Rename(name+tempSuffix, name); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}

// writeFile writes and syncs a new file; its name is not durable yet.
func writeFile(fsys vfs.FS, name string, content []byte) error {
	return putFile(fsys, name, content, true)
}

// putFile writes a new file, and syncs it on request.
func putFile(fsys vfs.FS, name string, content []byte, sync bool) (err error) {
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	if _, err := f.Writev([][]byte{content}, 0); err != nil || !sync {
		return err
	}
	return f.SyncData()
}

// checksumTopic marks the line that carries a checkpoint's checksum. It has the
// form of an entry, so Kafka reads it as one of a partition that it does not have.
const checksumTopic = ".crc32c"

// offsets is the content of a checkpoint: version 0, a count, and a line "topic
// partition offset" per partition. The last line is our checksum.
type offsets map[record.TopicPartition]record.Offset

func (o offsets) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "0\n%d\n", len(o)+1)
	for _, tp := range slices.SortedFunc(maps.Keys(o), compareTP) {
		fmt.Fprintf(&b, "%s %d %d\n", tp.Topic, tp.Partition, o[tp])
	}
	fmt.Fprintf(&b, "%s 0 %d\n", checksumTopic, crc32.Checksum(b.Bytes(), castagnoli))
	return b.Bytes()
}

func compareTP(a, b record.TopicPartition) int {
	if c := strings.Compare(string(a.Topic), string(b.Topic)); c != 0 {
		return c
	}
	return int(a.Partition) - int(b.Partition)
}

// decodeOffsets reads our checkpoints, and Kafka's, which have no checksum.
func decodeOffsets(b []byte) (offsets, error) {
	lines, err := checkpointLines(b)
	if err != nil {
		return nil, err
	}
	all := make(offsets, len(lines))
	for _, line := range lines {
		tp, off, err := decodeOffsetLine(line)
		if err != nil {
			return nil, err
		}
		if tp.Topic != checksumTopic {
			all[tp] = off
			continue
		}
		covered := b[:bytes.LastIndex(b, []byte(checksumTopic))]
		if sum := crc32.Checksum(covered, castagnoli); int64(sum) != int64(off) {
			return nil, fmt.Errorf("checksum %d, the file says %d", sum, off)
		}
		return all, nil
	}
	return all, nil
}

func decodeOffsetLine(line string) (tp record.TopicPartition, off record.Offset, err error) {
	words := strings.Fields(line)
	if len(words) != 3 {
		return tp, 0, fmt.Errorf("line %q is not topic, partition and offset", line)
	}
	partition, err := strconv.ParseUint(words[1], 10, 31)
	if err != nil {
		return tp, 0, err
	}
	offset, err := strconv.ParseInt(words[2], 10, 64)
	if err == nil && offset < 0 {
		err = fmt.Errorf("negative offset %d", offset)
	}
	return record.TopicPartition{Topic: record.Topic(words[0]), Partition: record.Partition(partition)}, record.Offset(offset), err
}

// checkpointLines are the entries of a checkpoint file of Kafka's version 0.
func checkpointLines(b []byte) ([]string, error) {
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(lines) < 2 || lines[0] != "0" {
		return nil, errors.New("it does not start with version 0 and a count")
	}
	if count, err := strconv.Atoi(lines[1]); err != nil || count != len(lines)-2 {
		return nil, fmt.Errorf("it announces %q entries and has %d", lines[1], len(lines)-2)
	}
	return lines[2:], nil
}

// readOffsets is a checkpoint's content; a missing one is empty.
func readOffsets(fsys vfs.FS, name string) (offsets, error) {
	b, err := fsys.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return offsets{}, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := decodeOffsets(b)
	if err != nil {
		return nil, &fileError{name, err}
	}
	return all, nil
}
