package auth

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

var (
	// ErrMalformed means that a client's message breaks the rules of its
	// mechanism. The login is over.
	ErrMalformed = errors.New("auth: malformed SASL message")
	// ErrDenied means that user and password do not belong together. It is the
	// same for a wrong password and for a user that does not exist.
	ErrDenied = errors.New("auth: wrong user or password")
)

// maxMessage bounds one message of a login. Honest ones have some hundred bytes.
const maxMessage = 8 << 10

// scramOver is behind the last step: no further message is right.
const scramOver = 3

// Scram is the server's side of one SCRAM login (RFC 5802), without channel
// binding:
//
//	client: n,,n=user,r=CLIENTNONCE
//	server: r=CLIENTNONCESERVERNONCE,s=SALT,i=ITERATIONS
//	client: c=biws,r=CLIENTNONCESERVERNONCE,p=PROOF
//	server: v=SIGNATURE
type Scram struct {
	mechanism Mechanism
	nonce     string // the server's part
	find      func(user string) Credential

	step       int
	user       string
	credential Credential
	gs2        string // the client's header, which it repeats in base64
	bare       string // client-first-message without the header
	first      string // server-first-message
	wholeNonce string
	done       bool
}

// NewScram begins a login. nonce is random text without a comma, never used
// before. find gives the credential of a user; for one that does not exist it
// must give a decoy (see [Users.Credential]), so that the exchange does not
// tell which users there are.
func NewScram(m Mechanism, nonce string, find func(user string) Credential) *Scram {
	return &Scram{mechanism: m, nonce: nonce, find: find}
}

// Step takes the client's next message and gives the answer to it. After an
// error, [ErrMalformed] or [ErrDenied], the login is over. The login has
// succeeded when done; the last answer proves to the client that the server
// knows the credential too.
func (s *Scram) Step(message []byte) (answer []byte, done bool, err error) {
	s.step++
	switch {
	case len(message) > maxMessage:
		err = malformed("a message of %d bytes", len(message))
	case !utf8.Valid(message):
		err = malformed("a message that is not UTF-8")
	case s.step == 1:
		answer, err = s.clientFirst(string(message))
	case s.step == 2:
		answer, err = s.clientFinal(string(message))
	default:
		err = malformed("a message after the last")
	}
	if err != nil {
		s.step = scramOver
		return nil, false, err
	}
	return answer, s.done, nil
}

// User is the name that the client gave, known after the first step. It means
// something only when the login has succeeded.
func (s *Scram) User() string { return s.user }

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

func (s *Scram) clientFirst(message string) ([]byte, error) {
	authorizationID, err := s.cutHeader(message)
	if err != nil {
		return nil, err
	}
	attributes := strings.Split(s.bare, ",")
	if len(attributes) < 2 {
		return nil, malformed("the first message lacks user or nonce")
	}
	if strings.HasPrefix(attributes[0], "m=") {
		return nil, malformed("a mandatory extension, of which none is known")
	}
	name, named := strings.CutPrefix(attributes[0], "n=")
	clientNonce, nonced := strings.CutPrefix(attributes[1], "r=")
	if !named || !nonced || !printable(clientNonce) {
		return nil, malformed("the first message lacks user or nonce")
	}
	if s.user, err = unescape(name); err != nil {
		return nil, err
	}
	if authorizationID != "" && authorizationID != s.user {
		return nil, fmt.Errorf("%w: a user cannot act as another one", ErrDenied)
	}
	s.credential = s.find(s.user)
	s.wholeNonce = clientNonce + s.nonce
	s.first = fmt.Sprintf("r=%s,s=%s,i=%d", s.wholeNonce, base64.StdEncoding.EncodeToString(s.credential.Salt), s.credential.Iterations)
	return []byte(s.first), nil
}

// cutHeader splits the first message into its GS2 header, "n,," or "n,a=name,",
// and the rest.
func (s *Scram) cutHeader(message string) (authorizationID string, err error) {
	flag, rest, _ := strings.Cut(message, ",")
	identity, bare, found := strings.Cut(rest, ",")
	switch {
	case !found:
		return "", malformed("the first message lacks its header")
	case strings.HasPrefix(flag, "p="):
		return "", malformed("the client wants channel binding, which is not served")
	case flag != "n" && flag != "y":
		return "", malformed("the first message begins with neither n nor y")
	case identity != "" && !strings.HasPrefix(identity, "a="):
		return "", malformed("the first message has an unknown header")
	}
	s.gs2, s.bare = message[:len(message)-len(bare)], bare
	return unescape(strings.TrimPrefix(identity, "a="))
}

// unescape reads a name, in which =2C is a comma and =3D an equals sign.
func unescape(name string) (string, error) {
	plain := strings.NewReplacer("=2C", "", "=3D", "").Replace(name)
	if strings.Contains(plain, "=") || strings.ContainsRune(name, 0) {
		return "", malformed("a user name with a wrong escape")
	}
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(name), nil
}

// printable reports whether a nonce is one: visible ASCII without comma.
func printable(nonce string) bool {
	for _, c := range []byte(nonce) {
		if c <= ' ' || c > '~' || c == ',' {
			return false
		}
	}
	return nonce != ""
}

func (s *Scram) clientFinal(message string) ([]byte, error) {
	unproved, proofText, found := cutLast(message, ",p=")
	if !found {
		return nil, malformed("the last message lacks its proof")
	}
	attributes := strings.Split(unproved, ",")
	if len(attributes) < 2 {
		return nil, malformed("the last message lacks binding or nonce")
	}
	binding, bound := strings.CutPrefix(attributes[0], "c=")
	nonce, nonced := strings.CutPrefix(attributes[1], "r=")
	proof, err := base64.StdEncoding.DecodeString(proofText)
	switch {
	case !bound || binding != base64.StdEncoding.EncodeToString([]byte(s.gs2)):
		return nil, malformed("the last message repeats another header than the first had")
	case !nonced || !s.repeats(nonce):
		return nil, malformed("the last message has another nonce than ours")
	case err != nil:
		return nil, malformed("the proof is not base64")
	}
	exchange := s.bare + "," + s.first + "," + unproved
	if !s.proves(exchange, proof) {
		return nil, ErrDenied
	}
	s.done = true
	signature := mac(s.mechanism, s.credential.ServerKey, exchange)
	return append([]byte("v="), base64.StdEncoding.EncodeToString(signature)...), nil
}

// repeats reports whether the client sends our nonce back, so that its proof is
// for this login and no other. librdkafka before 2.6.1 puts its own part in front
// once more, which Kafka lets pass as well; the proof covers it all the same.
func (s *Scram) repeats(nonce string) bool {
	return nonce == s.wholeNonce || nonce == strings.TrimSuffix(s.wholeNonce, s.nonce)+s.wholeNonce
}

// cutLast is strings.Cut around the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// proves reports whether the sender of proof knows the password: proof is the
// client key, hidden by a signature that only the stored key makes.
func (s *Scram) proves(exchange string, proof []byte) bool {
	signature := mac(s.mechanism, s.credential.StoredKey, exchange)
	if len(proof) != len(signature) {
		return false
	}
	clientKey := make([]byte, len(proof))
	subtle.XORBytes(clientKey, proof, signature)
	return subtle.ConstantTimeCompare(digest(s.mechanism, clientKey), s.credential.StoredKey) == 1
}

// ParsePlain reads the one message of a login by PLAIN:
//
//	[authorization identity] NUL user NUL password
func ParsePlain(message []byte) (user, password string, err error) {
	parts := bytes.Split(message, []byte{0})
	switch {
	case len(message) > maxMessage:
		return "", "", malformed("a message of %d bytes", len(message))
	case len(parts) != 3 || !utf8.Valid(message):
		return "", "", malformed("a PLAIN message needs user and password, each behind a NUL")
	case len(parts[1]) == 0 || len(parts[2]) == 0:
		return "", "", malformed("a PLAIN message without user or password")
	case len(parts[0]) > 0 && !bytes.Equal(parts[0], parts[1]):
		return "", "", fmt.Errorf("%w: a user cannot act as another one", ErrDenied)
	}
	return string(parts[1]), string(parts[2]), nil
}
