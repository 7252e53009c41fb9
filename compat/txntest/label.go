package txntest

import (
	"fmt"
	"hash/crc32"
	"strings"

	"millrace/compat/history"
)

// encode is the value of a record: what it is, where it was sent, and a
// checksum of both, as text that any client library can carry.
func encode(id history.ID, p history.Partition) []byte {
	body := fmt.Sprintf("txn %d %d %d %d %s %d", id.Writer, id.Life, id.Txn, id.N, p.Topic, p.Index)
	return fmt.Appendf(nil, "%s %08x", body, crc32.ChecksumIEEE([]byte(body)))
}

// decode is the reverse of encode. It fails for every value that encode did not
// make.
func decode(value []byte) (id history.ID, p history.Partition, err error) {
	text := string(value)
	cut := strings.LastIndexByte(text, ' ')
	if cut < 0 || text[cut+1:] != fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(text[:cut]))) {
		return id, p, fmt.Errorf("not a record of this test, or damaged: %q", value)
	}
	_, err = fmt.Sscanf(text[:cut], "txn %d %d %d %d %s %d", &id.Writer, &id.Life, &id.Txn, &id.N, &p.Topic, &p.Index)
	return id, p, err
}
