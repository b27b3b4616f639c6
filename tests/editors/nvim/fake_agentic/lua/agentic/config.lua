return { provider = nil, acp_providers = {}, hooks = {} }
