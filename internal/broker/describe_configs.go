package broker

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describeConfigs shows the settings of topics and of this broker.
func (b *Broker) describeConfigs(c *conn, req *kmsg.DescribeConfigsRequest) reply {
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	for _, resource := range req.Resources {
		configs, err := b.configsOf(c, resource)
		r := kmsg.NewDescribeConfigsResponseResource()
		r.ResourceType, r.ResourceName = resource.ResourceType, resource.ResourceName
		r.ErrorCode, r.ErrorMessage = codeOf(err), textOf(err)
		for _, config := range configs {
			if resource.ConfigNames != nil && !slices.Contains(resource.ConfigNames, config.Name) {
				continue
			}
			if !req.IncludeSynonyms {
				config.ConfigSynonyms = nil
			}
			if !req.IncludeDocumentation {
				config.Documentation = nil
			}
			r.Configs = append(r.Configs, config)
		}
		resp.Resources = append(resp.Resources, r)
	}
	return answer(resp)
}

func (b *Broker) configsOf(c *conn, resource kmsg.DescribeConfigsRequestResource) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	switch resource.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		t := b.catalog.topics.named(resource.ResourceName)
		if t == nil {
			return nil, fmt.Errorf("%w: %s", errTopicUnknown, resource.ResourceName)
		}
		return t.describeSettings(), nil
	case kmsg.ConfigResourceTypeBroker:
		if resource.ResourceName == "" { // defaults for all brokers of a cluster: none are set
			return nil, nil
		}
		if resource.ResourceName != strconv.Itoa(int(b.cfg.NodeID)) {
			return nil, refused(kerr.InvalidRequest, fmt.Sprintf("there is no broker %q: the only one is %d", resource.ResourceName, b.cfg.NodeID))
		}
		return b.describeBroker(c), nil
	}
	return nil, refused(kerr.InvalidRequest, fmt.Sprintf("configs of resource type %s are not kept: ask for a topic or for the broker", resource.ResourceType))
}

func (t *topic) describeSettings() []kmsg.DescribeConfigsResponseResourceConfig {
	configs := make([]kmsg.DescribeConfigsResponseResourceConfig, 0, len(topicSettings))
	for i := range topicSettings {
		s := &topicSettings[i]
		value, source := s.effective(t.settings())
		config := kmsg.DescribeConfigsResponseResourceConfig{
			Name: s.name, Value: &value, Source: source, ConfigType: s.kind, Documentation: &s.doc,
			IsDefault: source == kmsg.ConfigSourceDefaultConfig,
		}
		if source == kmsg.ConfigSourceDynamicTopicConfig {
			config.ConfigSynonyms = append(config.ConfigSynonyms, synonym(s.name, value, source))
		}
		if s.synonym != "" {
			config.ConfigSynonyms = append(config.ConfigSynonyms, synonym(s.synonym, s.fallback, kmsg.ConfigSourceDefaultConfig))
		}
		configs = append(configs, config)
	}
	return configs
}

func synonym(name, value string, source kmsg.ConfigSource) kmsg.DescribeConfigsResponseResourceConfigConfigSynonym {
	return kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{Name: name, Value: &value, Source: source}
}
