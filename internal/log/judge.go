package log

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"

	"millrace/internal/batch"
	"millrace/record"
)

// verdict is what recovery makes of bytes that are not a batch.
type verdict int

const (
	// torn: the machine stopped before these bytes were synced. They were never
	// acknowledged, and neither was anything behind them: cut.
	torn verdict = iota
	// rot: they were changed after they had been written. Keep them, say so, and
	// serve what is around them.
	rot
)

// evidence is what recovery can see of a bad batch above the recovery point.
type evidence struct {
	endsInside  bool // the file ends before the batch does, by the batch's own word
	wholeToEnd  bool // its checksum holds when it is taken to end with the file: only its length is wrong
	lostSector  bool // a disk sector that it touches holds nothing but zeros
	oneBit      bool // turning back one bit makes its checksum hold
	foreign     bool // its first bytes are not those of the batch that must stand there, by far
	soundBehind bool // a sound batch lies further on in the file
}

// judge decides by one rule: a power cut loses whole sectors or the end of the
// file, rot flips bits. Where both are possible it keeps the bytes: a cut that
// was wrong loses what was acknowledged, a keep that was wrong is an alarm.
func judge(e evidence) verdict {
	switch {
	case e.oneBit || e.wholeToEnd:
		return rot
	case e.lostSector:
		return torn
	case e.soundBehind:
		return rot
	case e.endsInside || e.foreign:
		return torn
	}
	return rot
}

const sectorSize = 512

// gather collects the evidence about the bad batch at the cursor.
func (c *cursor) gather(seg *segment) (e evidence, err error) {
	length := c.claimedLength(c.pos)
	size, left := sizeOf(length), c.end-c.pos
	e.endsInside = left < batch.HeaderSize || size > left
	extent := c.end
	if size > 0 && !e.endsInside {
		extent = c.pos + size
	}
	if e.lostSector, err = c.lostSector(extent); err != nil {
		return e, err
	}
	if left < batch.HeaderSize {
		return e, nil
	}
	if e.foreign, err = c.foreign(); err != nil {
		return e, err
	}
	if e.wholeToEnd, err = c.wholeTo(c.end); err != nil {
		return e, err
	}
	if e.oneBit, err = c.oneBitOff(length, left); err != nil {
		return e, err
	}
	if e.lostSector || e.oneBit || e.wholeToEnd {
		return e, nil // decided: spare the search
	}
	pos, _, err := c.search(seg, maxOffset)
	e.soundBehind = pos < c.end
	return e, err
}

// maxOffset is above every offset.
const maxOffset = math.MaxInt64

// zeroTail is how many zeros at the end of the file, starting inside a batch,
// show that the file got its size and not its bytes. Fewer may be a record's own.
const zeroTail = 16

// lostSector says whether a sector between the cursor and to has only zeros where
// the batch, or what follows it up to the end of the file, should be, or the
// file ends in zeros from there on. The few bytes of a sector that would be zero
// in a sound batch too are no evidence.
func (c *cursor) lostSector(to int64) (bool, error) {
	zeros := c.pos // where the zeros that reach up to the byte at hand begin
	for from := c.pos; from < c.end; {
		sectorEnd := min(from-from%sectorSize+sectorSize, c.end)
		b, err := c.bytes(from, int(sectorEnd-from))
		if err != nil {
			return false, err
		}
		last := len(bytes.TrimRight(b, "\x00"))
		if last > 0 {
			zeros = from + int64(last)
		} else if from < to && !(from == c.pos && zeroAnyway(len(b), c.next)) {
			return true, nil
		}
		if zeros >= to {
			return false, nil
		}
		from += int64(len(b))
	}
	return c.end-zeros >= zeroTail, nil
}

// zeroAnyway says that the first n bytes of a batch with that base offset are zero.
func zeroAnyway(n int, base record.Offset) bool {
	return n <= bits.LeadingZeros64(uint64(base))/8
}

// wholeTo says that the checksum holds for the bytes up to end.
func (c *cursor) wholeTo(end int64) (bool, error) {
	want, err := c.storedChecksum()
	if err != nil {
		return false, err
	}
	sum, err := c.checksum(c.pos+checksummed, end)
	return sum == want, err
}

func (c *cursor) storedChecksum() (uint32, error) {
	b, err := c.bytes(c.pos, batch.HeaderSize)
	if err != nil || len(b) < checksummed {
		return 0, err
	}
	return binary.BigEndian.Uint32(b[checksummed-4:]), nil
}

// foreignBits is how many of the 104 bits that a batch's start must have may be
// wrong before it is no batch of ours that rotted.
const foreignBits = 16

func (c *cursor) foreign() (bool, error) {
	wrong, err := c.wrongOutside()
	return wrong > foreignBits, err
}

// wrongOutside counts the bits of base offset, leader epoch and magic, which no
// checksum covers, that are not as they must be here.
func (c *cursor) wrongOutside() (int, error) {
	b, err := c.bytes(c.pos, batch.HeaderSize)
	if err != nil || len(b) < checksummed {
		return 0, err
	}
	return bits.OnesCount64(binary.BigEndian.Uint64(b)^uint64(c.next)) +
		bits.OnesCount32(binary.BigEndian.Uint32(b[12:])^uint32(c.epochs.at(c.next))) +
		bits.OnesCount8(b[16]^2), nil
}

// searchedForOneBit bounds the batches in which a flipped bit is looked for. In
// larger ones a torn batch would too often look as if one bit explained it.
const searchedForOneBit = 1 << 20

// oneBitOff says whether one flipped bit explains a bad batch with that length
// field, in a file with left bytes: a bit of the length, of the fields that no
// checksum covers, of the checksum, or of what it covers.
func (c *cursor) oneBitOff(length int32, left int64) (bool, error) {
	for bit := range 32 {
		if repaired := sizeOf(length ^ 1<<bit); repaired > 0 && repaired <= min(left, searchedForOneBit) {
			if whole, err := c.wholeTo(c.pos + repaired); whole || err != nil {
				return c.soundOutside(err)
			}
		}
	}
	size := sizeOf(length)
	if size == 0 || size > left || size > searchedForOneBit {
		return false, nil
	}
	want, err := c.storedChecksum()
	if err != nil {
		return false, err
	}
	sum, err := c.checksum(c.pos+checksummed, c.pos+size)
	if err != nil {
		return false, err
	}
	if sum == want {
		wrong, err := c.wrongOutside()
		return wrong == 1, err
	}
	if !oneBitExplains(sum^want, size-checksummed) {
		return false, nil
	}
	return c.soundOutside(nil)
}

// soundOutside says that no bit is wrong outside the length and what the checksum
// covers: where one is, the one bit found there does not explain everything.
func (c *cursor) soundOutside(err error) (bool, error) {
	if err != nil {
		return false, err
	}
	wrong, err := c.wrongOutside()
	return wrong == 0, err
}

// oneBitExplains says that one flipped bit, of n bytes or of the checksum itself,
// makes that difference between the checksum stored and the one computed. CRC is
// linear: what a bit does to the sum depends on its distance to the end alone.
func oneBitExplains(difference uint32, n int64) bool {
	if bits.OnesCount32(difference) == 1 {
		return true
	}
	var flipped [8]uint32 // what each bit of the byte at hand does to the checksum
	for bit := range flipped {
		flipped[bit] = castagnoli[1<<bit]
	}
	for range n {
		for bit, effect := range flipped {
			if effect == difference {
				return true
			}
			flipped[bit] = castagnoli[byte(effect)] ^ effect>>8
		}
	}
	return false
}
