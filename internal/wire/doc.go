// Package wire stands between hostile sockets and the broker: it reads frames
// within a byte budget, parses request headers, and checks every length, count
// and tag of a request before anything is allocated for it.
//
// Most readers need [Reader], which turns a connection into frames, and
// [Decode], which turns a frame's body into a request. The hot paths have
// decoders of their own that allocate nothing in steady state and alias the
// frame: [ProduceRequest], [FetchRequest], [MetadataRequest]; with the encoders
// [ProduceResponse] and [FetchResponse]. All else goes through kmsg, which is
// given only bytes that [Walk] has accepted.
//
// What can be read ([Known]) and what is answered ([Served], which ApiVersions
// tells) are two tables: the commit that brings a handler widens the second one.
//
// # What a frame may cost
//
// Decoding a body of n bytes allocates at most 4n + 64 KiB, whatever it holds,
// and a request has at most [MaxElements] array elements. A request beyond that
// is refused with a [FrameError], as a malformed one is.
package wire
