package log

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"strconv"
	"strings"

	"millrace/internal/vfs"
)

// meta.properties is Kafka's: cluster id, directory id and node id. The last
// line, a comment to Kafka, is our checksum.
const metaFile = "meta.properties"

// identityFile remembers where meta.properties lay and which inode it had. A
// copy of the directory has neither.
const identityFile = ".millrace-identity"

type meta struct {
	clusterID   string
	directoryID string
	nodeID      int32
}

// newID is a random UUID in Kafka's form, base64 of 22 characters. As Kafka does
// it avoids a dash in front, which command lines would take for an option.
func newID() string {
	for {
		var id [16]byte
		_, _ = rand.Read(id[:]) // never fails (Go 1.24)
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if text := base64.RawURLEncoding.EncodeToString(id[:]); text[0] != '-' {
			return text
		}
	}
}

const metaChecksum = "#crc32c="

func (m meta) encode() []byte {
	text := fmt.Sprintf("#\ncluster.id=%s\ndirectory.id=%s\nnode.id=%d\nversion=1\n", m.clusterID, m.directoryID, m.nodeID)
	return fmt.Appendf(nil, "%s%s%08x\n", text, metaChecksum, crc32.Checksum([]byte(text), castagnoli))
}

func decodeMeta(b []byte) (m meta, err error) {
	text, sum, sealed := bytes.Cut(b, []byte(metaChecksum))
	if sealed {
		want, err := strconv.ParseUint(strings.TrimSpace(string(sum)), 16, 32)
		if err != nil || uint32(want) != crc32.Checksum(text, castagnoli) {
			return m, errors.New("wrong checksum")
		}
	}
	version := ""
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "cluster.id":
			m.clusterID = value
		case "directory.id":
			m.directoryID = value
		case "version":
			version = value
		}
	}
	if m.clusterID == "" || version != "1" {
		return m, errors.New("it does not have a cluster.id and version 1") // ours ends with the version: it was cut
	}
	return m, nil
}

// openMeta reads who this directory is, or makes it somebody.
func openMeta(fsys vfs.FS, nodeID int32) (meta, error) {
	b, err := fsys.ReadFile(metaFile)
	if errors.Is(err, fs.ErrNotExist) {
		m := meta{clusterID: newID(), directoryID: newID(), nodeID: nodeID}
		if err := replaceFile(fsys, metaFile, m.encode()); err != nil {
			return m, err
		}
		return m, writeIdentity(fsys)
	}
	if err != nil {
		return meta{}, err
	}
	m, err := decodeMeta(b)
	if err != nil {
		return m, fmt.Errorf("%w: restore it from a backup, or remove it to give this broker a new cluster id", &fileError{fsys.Root() + "/" + metaFile, err})
	}
	return m, checkIdentity(fsys, m)
}

// identity is where a data directory is.
type identity struct {
	path  string
	inode uint64 // of meta.properties; 0 where the file system has none
}

func currentIdentity(fsys vfs.FS) (identity, error) {
	info, err := fsys.Stat(metaFile)
	if err != nil {
		return identity{}, err
	}
	return identity{path: fsys.Root(), inode: inodeOf(info)}, nil
}

func (id identity) encode() []byte { return fmt.Appendf(nil, "inode=%d\npath=%s\n", id.inode, id.path) }

func decodeIdentity(b []byte) (id identity, ok bool) {
	first, second, _ := strings.Cut(string(b), "\n")
	inode, err := strconv.ParseUint(strings.TrimPrefix(first, "inode="), 10, 64)
	path, ok := strings.CutPrefix(strings.TrimSuffix(second, "\n"), "path=")
	return identity{path: path, inode: inode}, ok && err == nil
}

// checkIdentity gives ErrCopied when both path and inode are others than before.
// One of them may change: a directory is moved, or restored to its place.
func checkIdentity(fsys vfs.FS, m meta) error {
	now, err := currentIdentity(fsys)
	if err != nil {
		return err
	}
	b, err := fsys.ReadFile(identityFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	before, known := decodeIdentity(b)
	if known && before == now {
		return nil
	}
	if known && before.path != now.path && before.inode != now.inode && now.inode != 0 {
		return fmt.Errorf("%w of %s, with the same cluster id %s; two brokers with one cluster id confuse their clients. "+
			"If the original is gone, remove %[4]s/%[5]s and start again; to run both, remove %[4]s/%[6]s too, which gives this one a cluster id of its own",
			ErrCopied, before.path, m.clusterID, now.path, identityFile, metaFile)
	}
	return writeIdentity(fsys)
}

func writeIdentity(fsys vfs.FS) error {
	id, err := currentIdentity(fsys)
	if err != nil {
		return err
	}
	return replaceFile(fsys, identityFile, id.encode())
}
