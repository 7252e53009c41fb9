package wire

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Decode walks body and, if it is valid, decodes it with kmsg. The error is a
// *FrameError. The request does not alias the frame, except for the Records of
// a Produce request and for unknown tags: the frame may be released.
//
// Produce, Fetch and Metadata have decoders of their own, which cost less:
// [ProduceRequest], [FetchRequest], [MetadataRequest].
func Decode(h Header, body []byte) (kmsg.Request, error) {
	if err := Walk(h.Key, h.Version, body); err != nil {
		return nil, h.place(err)
	}
	req := kmsg.RequestForKey(h.Key)
	req.SetVersion(h.Version)
	if err := req.ReadFrom(body); err != nil {
		return nil, &FrameError{Key: h.Key, Version: h.Version, Offset: h.size, Reason: fmt.Sprintf("kmsg: %v", err), Err: ErrMalformed}
	}
	detach(req)
	return req, nil
}

// place makes the offset of a body error count from the frame's start.
func (h Header) place(err error) error {
	if ferr, ok := err.(*FrameError); ok {
		ferr.Offset += h.size
	}
	return err
}

// detach copies the byte fields that kmsg leaves as slices of the frame: group
// members and users keep them long after the frame's buffer serves another
// request.
func detach(req kmsg.Request) {
	switch req := req.(type) {
	case *kmsg.JoinGroupRequest:
		for i := range req.Protocols {
			req.Protocols[i].Metadata = slices.Clone(req.Protocols[i].Metadata)
		}
	case *kmsg.SyncGroupRequest:
		for i := range req.GroupAssignment {
			req.GroupAssignment[i].MemberAssignment = slices.Clone(req.GroupAssignment[i].MemberAssignment)
		}
	case *kmsg.SASLAuthenticateRequest:
		req.SASLAuthBytes = slices.Clone(req.SASLAuthBytes)
	case *kmsg.AlterUserSCRAMCredentialsRequest:
		for i := range req.Upsertions {
			u := &req.Upsertions[i]
			u.Salt, u.SaltedPassword = slices.Clone(u.Salt), slices.Clone(u.SaltedPassword)
		}
	}
}
