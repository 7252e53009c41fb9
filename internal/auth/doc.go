// Package auth decides who a client is and what it may do: the server's side of
// SASL PLAIN and SCRAM, users with salted keys, and Kafka's access control
// lists. It is pure: no I/O, no clock, no goroutine, no Kafka error code. What
// is random is passed in.
//
// Most readers need [Scram], which runs one login, [Users], which knows the
// credentials, and [ACLs], which answers whether a principal may do something.
// [Document] is how users and ACLs are stored.
//
// Passwords are never kept: a user has, for each SCRAM mechanism, a salt and
// two keys derived from the password (RFC 5802), from which the password can
// only be guessed. PLAIN is checked against the same keys.
package auth
