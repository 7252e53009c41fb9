package state

// Cutter cuts many short byte strings, which are given away, from blocks that are
// never written twice: one allocation for some hundred of them. The zero Cutter
// is ready.
type Cutter struct{ block []byte }

const cutterBlock = 16 << 10

// Begin is an empty slice to which the next string is appended. It may outgrow
// its block, at the cost of an allocation.
func (c *Cutter) Begin() []byte {
	if cap(c.block)-len(c.block) < cutterBlock/16 {
		c.block = make([]byte, 0, cutterBlock)
	}
	return c.block[len(c.block):len(c.block):cap(c.block)]
}

// End takes what was appended to Begin's slice; without it the next string takes
// the same place. Nothing can be appended to what it returns.
func (c *Cutter) End(s []byte) []byte {
	if room := cap(c.block) - len(c.block); len(s) <= room && cap(s) == room {
		c.block = c.block[:len(c.block)+len(s)]
	}
	return s[:len(s):len(s)]
}
