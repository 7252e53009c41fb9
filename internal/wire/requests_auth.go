package wire

import "github.com/twmb/franz-go/pkg/kmsg"

// authRequests are those by which a client proves who it is, and by which ACLs
// and SCRAM users are administered.
func authRequests() []request {
	return []request{
		saslHandshakeSchema(),
		saslAuthenticateSchema(),
		describeACLsSchema(),
		createACLsSchema(),
		deleteACLsSchema(),
		describeClientQuotasSchema(),
		describeUserScramCredentialsSchema(),
		alterUserScramCredentialsSchema(),
	}
}

func saslHandshakeSchema() request {
	return request{key: 17, min: 0, max: 1, flexible: never, name: "SaslHandshake", fields: []field{
		str("Mechanism"),
	}}
}

func saslAuthenticateSchema() request {
	return request{key: 36, min: 0, max: 2, flexible: 2, name: "SaslAuthenticate", fields: []field{
		bytesOf("AuthBytes", "bytes"),
	}}
}

func describeACLsSchema() request {
	return request{key: 29, min: 1, max: 3, flexible: 2, name: "DescribeAcls", fields: []field{
		i8("ResourceTypeFilter"),
		str("ResourceNameFilter").nullable(0),
		i8("PatternTypeFilter").from(1),
		str("PrincipalFilter").nullable(0),
		str("HostFilter").nullable(0),
		i8("Operation"),
		i8("PermissionType"),
	}}
}

func createACLsSchema() request {
	return request{key: 30, min: 1, max: 3, flexible: 2, name: "CreateAcls", fields: []field{
		structs[kmsg.CreateACLsRequestCreation]("Creations",
			i8("ResourceType"),
			str("ResourceName"),
			i8("ResourcePatternType").from(1),
			str("Principal"),
			str("Host"),
			i8("Operation"),
			i8("PermissionType"),
		),
	}}
}

func deleteACLsSchema() request {
	return request{key: 31, min: 1, max: 3, flexible: 2, name: "DeleteAcls", fields: []field{
		structs[kmsg.DeleteACLsRequestFilter]("Filters",
			i8("ResourceTypeFilter"),
			str("ResourceNameFilter").nullable(0),
			i8("PatternTypeFilter").from(1),
			str("PrincipalFilter").nullable(0),
			str("HostFilter").nullable(0),
			i8("Operation"),
			i8("PermissionType"),
		),
	}}
}

// describeClientQuotasSchema is here for kafka-configs, which asks about a user's
// quotas whenever it asks about the user.
func describeClientQuotasSchema() request {
	return request{key: 48, min: 0, max: 1, flexible: 1, name: "DescribeClientQuotas", fields: []field{
		structs[kmsg.DescribeClientQuotasRequestComponent]("Components",
			str("EntityType"),
			i8("MatchType"),
			str("Match").nullable(0),
		),
		boolean("Strict"),
	}}
}

func describeUserScramCredentialsSchema() request {
	return request{key: 50, min: 0, max: 0, flexible: 0, name: "DescribeUserScramCredentials", fields: []field{
		structs[kmsg.DescribeUserSCRAMCredentialsRequestUser]("Users",
			str("Name"),
		).nullable(0),
	}}
}

func alterUserScramCredentialsSchema() request {
	return request{key: 51, min: 0, max: 0, flexible: 0, name: "AlterUserScramCredentials", fields: []field{
		structs[kmsg.AlterUserSCRAMCredentialsRequestDeletion]("Deletions",
			str("Name"),
			i8("Mechanism"),
		),
		structs[kmsg.AlterUserSCRAMCredentialsRequestUpsertion]("Upsertions",
			str("Name"),
			i8("Mechanism"),
			i32("Iterations"),
			bytesOf("Salt", "bytes"),
			bytesOf("SaltedPassword", "bytes"),
		),
	}}
}
