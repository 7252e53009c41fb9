package wire

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// errUnsupportedVersion is UNSUPPORTED_VERSION in Kafka's error table.
const errUnsupportedVersion = 35

// lengthPrefix is the size of the number in front of each frame.
const lengthPrefix = 4

// Response is the body of an answer, at its version. Every kmsg.Response is one,
// and so is [ProduceResponse].
type Response interface {
	Key() int16
	IsFlexible() bool
	AppendTo(dst []byte) []byte
}

// AppendResponse appends a whole response frame, length prefix included. The
// response must carry the request's version (kmsg's ResponseKind sets it).
//
// The answer to ApiVersions always has the old header, without tags, because
// its reader does not yet know what the broker can do (KIP-511).
func AppendResponse(dst []byte, correlationID int32, resp Response) []byte {
	start := len(dst)
	dst = appendResponseHeader(dst, correlationID, resp.IsFlexible() && resp.Key() != apiVersionsKey)
	dst = resp.AppendTo(dst)
	return finishFrame(dst, start)
}

func appendResponseHeader(dst []byte, correlationID int32, flexible bool) []byte {
	dst = append(dst, 0, 0, 0, 0)
	dst = appendInt32(dst, correlationID)
	if flexible {
		dst = append(dst, 0) // no tags
	}
	return dst
}

// finishFrame fills in the length of the frame that begins at start.
func finishFrame(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-lengthPrefix))
	return dst
}

// AppendToken appends the answer to a token of [Reader.ReadToken]: its length and
// the server's own token, which may be empty, without a header.
func AppendToken(dst, token []byte) []byte {
	return append(appendInt32(dst, int32(len(token))), token...)
}

// ApiVersionsResponse is the answer to an ApiVersions request of a served
// version: the served table, and the finalized features (KIP-584).
func ApiVersionsResponse(version int16) *kmsg.ApiVersionsResponse {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = version
	resp.ApiKeys = make([]kmsg.ApiVersionsResponseApiKey, 0, len(announced))
	for _, a := range announced {
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = a.key, a.min, a.max
		resp.ApiKeys = append(resp.ApiKeys, k)
	}
	if version >= firstFeaturesVersion {
		nameFeatures(resp)
	}
	return resp
}

const (
	firstFeaturesVersion = 3
	zeroFeaturesVersion  = 4 // Java clients before it fail on a supported range that starts at 0 (KIP-1022)
)

func nameFeatures(resp *kmsg.ApiVersionsResponse) {
	finalized := kmsg.NewApiVersionsResponseFinalizedFeature()
	finalized.Name, finalized.MinVersionLevel, finalized.MaxVersionLevel = "transaction.version", transactionVersion, transactionVersion
	resp.FinalizedFeatures = append(resp.FinalizedFeatures, finalized)
	resp.FinalizedFeaturesEpoch = 0 // it never changes while the broker runs
	if resp.Version >= zeroFeaturesVersion {
		supported := kmsg.NewApiVersionsResponseSupportedFeature()
		supported.Name, supported.MinVersion, supported.MaxVersion = finalized.Name, 0, transactionVersion
		resp.SupportedFeatures = append(resp.SupportedFeatures, supported)
	}
}

// AppendUnsupportedApiVersions appends the answer to an ApiVersions request of
// a version that is not served: in version 0, which every client can read,
// UNSUPPORTED_VERSION and the range for ApiVersions alone. The client then asks
// again (KIP-511).
func AppendUnsupportedApiVersions(dst []byte, correlationID int32) []byte {
	a := lookup(apiVersionsKey).served
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = errUnsupportedVersion
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MinVersion, k.MaxVersion = apiVersionsKey, a.min, a.max
	resp.ApiKeys = append(resp.ApiKeys, k)
	return AppendResponse(dst, correlationID, resp)
}

// ValidSoftwareName reports whether a client's software name or version, sent
// with ApiVersions from version 3, has the form that Kafka demands: letters,
// digits, dots and hyphens, a letter or digit at both ends (KIP-511). Others
// are answered with INVALID_REQUEST.
func ValidSoftwareName(name string) bool {
	if name == "" || !alphanumeric(name[0]) || !alphanumeric(name[len(name)-1]) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
