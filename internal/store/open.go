package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options say where the state lives and how much memory it may take.
type Options struct {
	// FS is the file system. Default: the operating system's.
	FS vfs.FS
	// CacheBytes bounds Pebble's cache of blocks. Default 8 MiB.
	CacheBytes int64
	// MemTableBytes is the size at which what was flushed from the engine is
	// written to a table file without being asked for. At four times this size
	// Flush waits for the disk. Default 8 MiB.
	MemTableBytes uint64
	// Logger gets what an operator should know. Default: nothing is logged.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 8 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 8 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// A flush of a task is one large batch, and becomes a level of its own in Pebble's
// L0. Pebble merges those with what lies below from half of l0Compaction levels on,
// and lets nobody write at l0StopWrites. Its own values (4 and 12) have it write
// everything again at every second flush: for 10^6 keys of which half change
// between two flushes a fifth of all the processor time that the disk costs, while
// reads become a seventh cheaper by it.
const (
	l0Compaction = 8
	l0StopWrites = 24
)

// formatVersion is what this code reads and writes; the pinned Pebble format
// belongs to it.
const (
	formatVersion = 1
	pebbleFormat  = pebble.FormatValueSeparation
)

// Open opens the state in dir, or makes it. [ErrInUse] when another process has
// it, *[FormatError] when it is newer than this program. A database that cannot
// be opened is set aside and an empty one takes its place, which the changelogs
// fill again: damage on disk costs a restore, never a loop of failing starts.
func Open(dir string, o Options) (*DB, error) {
	o = o.withDefaults()
	if err := o.FS.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	lock, err := o.FS.Lock(o.FS.PathJoin(dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInUse, dir, err)
	}
	d := &DB{dir: dir, options: o, lock: lock, patience: newPatience(), parts: make(map[partKey]*Part)}
	if err := d.open(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

func (d *DB) open() error {
	if err := d.checkFormat(); err != nil {
		return err
	}
	if err := d.loadInstance(); err != nil {
		return err
	}
	err := d.openPebble()
	if err == nil || !isDamage(err) {
		return err
	}
	if err := d.setAside(err); err != nil {
		return err
	}
	return d.openPebble()
}

// openPebble opens the database and looks into it far enough to know that it
// can be used.
func (d *DB) openPebble() error {
	db, err := pebble.Open(d.path("db"), d.pebbleOptions())
	if err != nil {
		return fmt.Errorf("open state in %s: %w", d.path("db"), err)
	}
	d.db = db
	if err := d.loadNames(); err != nil {
		return errors.Join(fmt.Errorf("read state in %s: %w", d.path("db"), err), db.Close())
	}
	return nil
}

func (d *DB) pebbleOptions() *pebble.Options {
	o := &pebble.Options{
		FS:                          patientFS{d.options.FS, d.patience},
		CacheSize:                   d.options.CacheBytes,
		MemTableSize:                d.options.MemTableBytes,
		MemTableStopWritesThreshold: 4,
		DisableWAL:                  true,
		FormatMajorVersion:          pebbleFormat,
		L0CompactionThreshold:       l0Compaction,
		L0StopWritesThreshold:       l0StopWrites,
		MaxOpenFiles:                200,
		Logger:                      pebbleLogger{d.options.Logger},
		EventListener: &pebble.EventListener{
			BackgroundError: d.refused,
			DataCorruption:  func(info pebble.DataCorruptionInfo) { d.troubled(info.Details) },
			FlushEnd: func(info pebble.FlushInfo) {
				if info.Err == nil {
					d.patience.succeeded()
					d.trouble.Store(nil)
				}
			},
		},
	}
	for i := range o.Levels {
		l := &o.Levels[i]
		l.FilterPolicy = bloom.FilterPolicy(10) // most keys that a table asks for in vain are not there at all
		// Keys and counts are short, and read one at a time: to unpack a block for one
		// of them costs a quarter of the whole read.
		l.Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	return o
}

// isDamage reports whether err, from opening the database, says that what is
// on disk is of no use. What the machine refuses (rights, space, descriptors)
// is no damage: there the same files may open well a moment later.
func isDamage(err error) bool {
	for _, refusal := range []error{fs.ErrPermission, syscall.ENOSPC, syscall.EMFILE, syscall.ENFILE, syscall.EROFS, syscall.ENOMEM} {
		if errors.Is(err, refusal) {
			return false
		}
	}
	return true
}

// setAside moves the database away; an older one that was set aside is dropped
// for it.
func (d *DB) setAside(why error) error {
	files, aside := d.options.FS, d.path("db.damaged")
	if err := files.RemoveAll(aside); err != nil {
		return fmt.Errorf("drop older damaged state: %w", err)
	}
	if err := files.Rename(d.path("db"), aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set damaged state aside: %w", err)
	}
	d.setAsideWhy = why
	d.options.Logger.Error("state on disk is damaged: it is set aside and rebuilt from the changelog topics", "kept", aside, "err", why)
	return nil
}

func (d *DB) path(name string) string { return d.options.FS.PathJoin(d.dir, name) }

// checkFormat reads the version of the directory, or sets it in a new one. One
// that cannot be read at all counts as damage to all that is here.
func (d *DB) checkFormat() error {
	text, err := d.readFile("format")
	if errors.Is(err, fs.ErrNotExist) {
		return d.writeFile("format", formatLine(formatVersion))
	}
	if err != nil {
		return fmt.Errorf("read format of state: %w", err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(text, "millrace-state ")))
	switch {
	case err != nil || version < 1:
		if err := d.setAside(fmt.Errorf("the file %s says %q", d.path("format"), text)); err != nil {
			return err
		}
		return d.writeFile("format", formatLine(formatVersion))
	case version > formatVersion:
		return &FormatError{Dir: d.dir, Found: version, Known: formatVersion}
	}
	return nil
}

func formatLine(version int) string { return fmt.Sprintf("millrace-state %d\n", version) }

// loadInstance reads the directory's id or draws one.
func (d *DB) loadInstance() error {
	text, err := d.readFile("instance")
	if err == nil && len(strings.TrimSpace(text)) == 2*instanceBytes {
		d.instance = strings.TrimSpace(text)
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read instance id: %w", err)
	}
	var id [instanceBytes]byte
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	d.instance = hex.EncodeToString(id[:])
	return d.writeFile("instance", d.instance+"\n")
}

const instanceBytes = 8

func (d *DB) readFile(name string) (string, error) {
	f, err := d.options.FS.Open(d.path(name))
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, 1<<10))
	return string(text), err
}

// writeFile replaces a small file so that a crash leaves the old one or the new one.
func (d *DB) writeFile(name, text string) error {
	files := d.options.FS
	temporary := d.path(name + ".new")
	f, err := files.Create(temporary, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write([]byte(text))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := files.Rename(temporary, d.path(name)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return d.syncDir()
}

func (d *DB) syncDir() error {
	f, err := d.options.FS.OpenDir(d.dir)
	if err != nil {
		return fmt.Errorf("sync state directory: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync state directory: %w", err)
	}
	return nil
}

// pebbleLogger passes on what Pebble reports. Its information is detail to a
// user of Millrace.
type pebbleLogger struct{ logger *slog.Logger }

func (l pebbleLogger) Infof(format string, args ...any) {
	l.logger.Debug("pebble: " + fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.logger.Warn("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf is Pebble's word for a broken invariant of its own; it must not return.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	message := "pebble: " + fmt.Sprintf(format, args...)
	l.logger.Error(message)
	panic(message)
}
