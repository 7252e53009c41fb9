package crashfs

import "fmt"

// FlipBit turns one bit of a file over, on the disk: bit 0 is the lowest of the
// first byte.
func (f *FS) FlipBit(name string, bit int64) error {
	return f.rot(name, bit/8+1, func(content []byte) []byte {
		content[bit/8] ^= 1 << (bit % 8)
		return content
	})
}

// Cut leaves the first sizeBytes of a file on the disk.
func (f *FS) Cut(name string, sizeBytes int64) error {
	return f.rot(name, sizeBytes, func(content []byte) []byte { return content[:sizeBytes] })
}

// Put makes a durable file of this content, or replaces one. Its directory must
// exist.
func (f *FS) Put(name string, content []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	ino, err := f.createLocked(name)
	if err != nil {
		return fmt.Errorf("crashfs: put %s: %w", name, err)
	}
	f.replaceLocked(ino, content)
	dir, _, err := f.parentLocked(name)
	if err == nil {
		dir.sync()
	}
	return err
}

func (f *FS) rot(name string, needBytes int64, change func([]byte) []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	ino, err := f.fileLocked(name)
	if err != nil {
		return fmt.Errorf("crashfs: damage %s: %w", name, err)
	}
	if ino.size.now < needBytes {
		return fmt.Errorf("crashfs: damage %s: it has %d bytes, not %d", name, ino.size.now, needBytes)
	}
	content := make([]byte, ino.size.now)
	ino.read(content, 0)
	f.replaceLocked(ino, change(content))
	return nil
}

func (f *FS) replaceLocked(ino *inode, content []byte) {
	f.used += int64(len(content)) - ino.size.now
	ino.blocks, ino.size = nil, history[int64]{}
	ino.write(content, 0)
	ino.sync()
}
