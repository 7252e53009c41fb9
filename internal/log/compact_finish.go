package log

import (
	"slices"
	"strings"

	"millrace/internal/vfs"
	"millrace/record"
)

// finishSwaps completes the swaps that a crash cut off behind their commit,
// removes what others have left, and gives the names that are in the log's
// directory then. A crash here changes nothing about that.
func (l *Log) finishSwaps(names []string) ([]string, error) {
	var swaps []record.Offset
	var leftovers []string
	for _, name := range names {
		file, swapped := strings.CutSuffix(name, swapSuffix)
		base, ok := parseFileName(file, dataFile)
		switch {
		case swapped && ok:
			swaps = append(swaps, base)
		case swapped || strings.HasSuffix(name, cleanedSuffix):
			leftovers = append(leftovers, name)
		}
	}
	for _, base := range swaps {
		if err := l.finishSwap(base, names); err != nil {
			return nil, err
		}
	}
	for _, name := range leftovers {
		if err := l.store.fsys.Remove(l.dir + "/" + name); err != nil {
			return nil, err
		}
	}
	if len(swaps)+len(leftovers) == 0 {
		return names, nil
	}
	return l.store.fsys.List(l.dir)
}

// finishSwap completes one swap: the old segments whose offsets the new one covers
// go, and it gets its name. Its indexes are made from it: theirs may be lost.
func (l *Log) finishSwap(base record.Offset, names []string) error {
	seg := &segment{store: l.store, dir: l.dir, base: base}
	defer seg.retire()
	end, err := l.reindexSwap(seg)
	if err != nil {
		return err
	}
	if err := l.dropAborted(seg, names); err != nil {
		return err
	}
	for _, name := range names {
		if other, ok := parseFileName(name, dataFile); ok && base < other && other < end && !l.store.opts.faults.compaction.keepCovered {
			old := &segment{store: l.store, dir: l.dir, base: other}
			if err := old.removeFiles(); err != nil {
				return err
			}
		}
	}
	if err := l.store.fsys.SyncDir(l.dir); err != nil {
		return err
	}
	if err := l.store.fsys.Rename(seg.path(dataFile)+swapSuffix, seg.path(dataFile)); err != nil {
		return err
	}
	return l.store.fsys.SyncDir(l.dir)
}

// dropAborted empties the index of aborted transactions, which may be that of the
// old segments. One without a seal has all of them made anew from the batches.
func (l *Log) dropAborted(seg *segment, names []string) error {
	any := slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, string(txnFile)) })
	if !any {
		return nil
	}
	return writeFile(l.store.fsys, seg.path(txnFile), nil)
}

// reindexSwap makes the indexes of a .swap file, durably, and gives the offset at
// which its sound batches end. Damage in it stays, and is found again by readers.
func (l *Log) reindexSwap(seg *segment) (end record.Offset, err error) {
	f, err := l.store.fsys.Open(seg.path(dataFile) + swapSuffix)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for _, part := range seg.parts()[:2] {
		if _, err := l.store.handles.acquire(part.handle, seg.path(part.kind), l.store.fsys.Create); err != nil {
			return 0, err
		}
		defer part.handle.release()
	}
	w := newIndexWriter(seg, l.config.Load().IndexIntervalBytes)
	if end, err = indexAll(w, seg, f); err != nil {
		return 0, err
	}
	if err := w.seal(); err != nil {
		return 0, err
	}
	return end, seg.syncIndexes()
}

// indexAll walks over the sound batches of a segment's file and gives them their
// index entries, and the offset behind the last one.
func indexAll(w *indexWriter, seg *segment, f vfs.File) (end record.Offset, err error) {
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	c := newCursor(f, nil, 0, seg.base, size)
	defer c.close()
	end = seg.base
	for {
		h, err := c.proven()
		switch {
		case err == errEnd:
			return end, nil
		case isBad(err):
			d, err := c.assess(seg, maxOffset, err)
			if err != nil {
				return 0, err
			}
			c.pos, c.next = d.end, d.to
		case err != nil:
			return 0, err
		default:
			w.add(h, c.pos)
			c.pass(h)
			end = c.next
		}
	}
}
