package broker

import (
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/auth"
)

// scramMechanism is Kafka's number of a mechanism, "" for an unknown one.
func scramMechanism(number int8) auth.Mechanism {
	switch number {
	case 1:
		return auth.ScramSHA256
	case 2:
		return auth.ScramSHA512
	}
	return ""
}

func scramNumber(m auth.Mechanism) int8 {
	if m == auth.ScramSHA256 {
		return 1
	}
	return 2
}

// describeUsers tells which users there are, and by which mechanisms they can
// log in; no salt and no key (KIP-554).
func (b *Broker) describeUsers(_ *conn, req *kmsg.DescribeUserSCRAMCredentialsRequest) reply {
	resp := req.ResponseKind().(*kmsg.DescribeUserSCRAMCredentialsResponse)
	users := b.security.users()
	names := users.Names()
	if len(req.Users) > 0 {
		names = names[:0:0]
		for _, u := range req.Users {
			names = append(names, u.Name)
		}
	}
	for _, name := range distinct(names) {
		resp.Results = append(resp.Results, describeUser(users, name))
	}
	return answer(resp)
}

func describeUser(users *auth.Users, name string) kmsg.DescribeUserSCRAMCredentialsResponseResult {
	r := kmsg.NewDescribeUserSCRAMCredentialsResponseResult()
	r.User = name
	for _, m := range users.Mechanisms(name) {
		c, _ := users.Credential(name, m)
		r.CredentialInfos = append(r.CredentialInfos, kmsg.DescribeUserSCRAMCredentialsResponseResultCredentialInfo{Mechanism: scramNumber(m), Iterations: int32(c.Iterations)})
	}
	if len(r.CredentialInfos) == 0 {
		text := fmt.Sprintf("there is no user %q", name)
		r.ErrorCode, r.ErrorMessage = kerr.ResourceNotFound.Code, &text
	}
	return r
}

// describeQuotas says that nobody has a quota: this broker has none to give.
// kafka-configs asks it together with a user's credentials.
func (b *Broker) describeQuotas(_ *conn, req *kmsg.DescribeClientQuotasRequest) reply {
	resp := req.ResponseKind().(*kmsg.DescribeClientQuotasResponse)
	resp.Entries = []kmsg.DescribeClientQuotasResponseEntry{} // not null, which is for errors
	return answer(resp)
}

// usersNamed are the users of the request, each once, in order.
func usersNamed(req *kmsg.AlterUserSCRAMCredentialsRequest) []string {
	var names []string
	for _, d := range req.Deletions {
		names = append(names, d.Name)
	}
	for _, u := range req.Upsertions {
		names = append(names, u.Name)
	}
	return distinct(names)
}

// alterUsers makes, changes and removes users. Each user's changes happen
// together or not at all, and are durable before the answer.
func (b *Broker) alterUsers(_ *conn, req *kmsg.AlterUserSCRAMCredentialsRequest) reply {
	for i := range req.Upsertions { // they lie in the frame, which ends with this call
		u := &req.Upsertions[i]
		u.Salt, u.SaltedPassword = slices.Clone(u.Salt), slices.Clone(u.SaltedPassword)
	}
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.AlterUserSCRAMCredentialsResponse)
		names := usersNamed(req)
		faults := make([]error, len(names))
		err := b.security.changeUsers(func(users *auth.Users) (*auth.Users, error) {
			for i, name := range names {
				next, err := alterUser(users, req, name)
				if faults[i] = err; err == nil {
					users = next
				}
			}
			return users, nil
		})
		for i, name := range names {
			fault := errors.Join(faults[i], err)
			r := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
			r.User, r.ErrorCode, r.ErrorMessage = name, codeOf(fault), textOf(fault)
			resp.Results = append(resp.Results, r)
			if fault == nil {
				b.logger.Info("a user was changed", "user", name, "mechanisms", b.security.users().Mechanisms(name))
			}
		}
		b.cutUsersThatAreGone()
		return resp
	})
}

// alterUser is users after what the request wants for one of them.
func alterUser(users *auth.Users, req *kmsg.AlterUserSCRAMCredentialsRequest, name string) (*auth.Users, error) {
	touched := map[int8]bool{}
	once := func(mechanism int8) error {
		switch {
		case scramMechanism(mechanism) == "":
			return refused(kerr.UnsupportedSaslMechanism, fmt.Sprintf("user %q: there is no SCRAM mechanism %d", name, mechanism))
		case touched[mechanism]:
			return refused(kerr.DuplicateResource, fmt.Sprintf("user %q: two changes of %s", name, scramMechanism(mechanism)))
		}
		touched[mechanism] = true
		return nil
	}
	for _, d := range req.Deletions {
		if d.Name != name {
			continue
		}
		err := once(d.Mechanism)
		if err == nil {
			users, err = users.Without(name, scramMechanism(d.Mechanism))
		}
		if err != nil {
			return nil, err
		}
	}
	for _, u := range req.Upsertions {
		if u.Name != name {
			continue
		}
		err := once(u.Mechanism)
		if err == nil {
			users, err = upsert(users, u)
		}
		if err != nil {
			return nil, err
		}
	}
	return users, nil
}

func upsert(users *auth.Users, u kmsg.AlterUserSCRAMCredentialsRequestUpsertion) (*auth.Users, error) {
	m := scramMechanism(u.Mechanism)
	c, err := auth.SaltedCredential(m, u.SaltedPassword, u.Salt, int(u.Iterations))
	if err != nil {
		return nil, err
	}
	return users.With(u.Name, m, c)
}
