package group

import (
	"encoding/binary"
	"errors"
	"maps"
	"math"
)

// consumerProtocolType is the protocol type of Kafka consumers.
const consumerProtocolType = "consumer"

var errSubscription = errors.New("group: not a consumer subscription")

// parseSubscription reads the topics out of a consumer's metadata. Version 0 of
// Kafka's ConsumerProtocolSubscription is a prefix of all later ones:
//
//	| version int16 | number of topics int32 | length int16, name | … | user data …
func parseSubscription(b []byte) (map[string]bool, error) {
	if len(b) < 6 || b[0] > math.MaxInt8 {
		return nil, errSubscription
	}
	count := int32(binary.BigEndian.Uint32(b[2:]))
	b = b[6:]
	if count < 0 || int64(count)*2 > int64(len(b)) {
		return nil, errSubscription
	}
	topics := make(map[string]bool, count)
	for range count {
		if len(b) < 2 {
			return nil, errSubscription
		}
		size := int(int16(binary.BigEndian.Uint16(b)))
		if size < 0 || size > len(b)-2 {
			return nil, errSubscription
		}
		topics[string(b[2:2+size])] = true
		b = b[2+size:]
	}
	return topics, nil
}

// subscribedTopics is what the members read together; nil when the group is not
// of consumers or one of them cannot be read.
func (g *Group) subscribedTopics() map[string]bool {
	if !g.usesConsumerProtocol() {
		return nil
	}
	all := map[string]bool{}
	for _, m := range g.members {
		topics, err := parseSubscription(m.metadata(g.protocol))
		if err != nil {
			return nil
		}
		maps.Copy(all, topics)
	}
	return all
}

// sameTopics reports whether two subscriptions name the same topics. Those that
// cannot be read count as equal, so that they decide nothing.
func sameTopics(a, b []byte) bool {
	before, errBefore := parseSubscription(a)
	after, errAfter := parseSubscription(b)
	return errBefore != nil || errAfter != nil || maps.Equal(before, after)
}
