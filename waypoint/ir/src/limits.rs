//! How a request is described to the rate-limit service.

/// When limits are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Before it is known who calls.
    Early,
    /// After.
    Regular,
}

/// One descriptor to send. If an entry yields nothing the descriptor is dropped, unless the entry may be absent.
#[derive(Debug, Clone, PartialEq)]
pub struct Descriptor {
    /// When it is sent.
    pub stage: Stage,
    /// Its entries in order; the first names the RateLimitConfig.
    pub entries: Vec<Entry>,
    /// Where the request may carry a limit of its own.
    pub limit_from: Option<MetadataPath>,
}

/// Where one entry comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A constant.
    Constant(String),
    /// A constant under a key of its own.
    Named {
        /// The entry's key.
        key: String,
        /// The constant.
        value: String,
    },
    /// The proxy's own cluster name.
    SourceCluster,
    /// The cluster routed to.
    DestinationCluster,
    /// The caller's address.
    RemoteAddress,
    /// The network the caller's address is in.
    RemoteNetwork {
        /// Of an IPv4 address, so many bits; all if none.
        v4: Option<u32>,
        /// Of an IPv6 address, so many bits; all if none.
        v6: Option<u32>,
    },
    /// A parameter of the path's query.
    Parameter {
        /// Its name.
        name: String,
        /// The entry's key.
        key: String,
        /// Whether a request without the parameter is described without the entry.
        optional: bool,
    },
    /// A request header.
    Header {
        /// Its name.
        name: String,
        /// The entry's key.
        key: String,
        /// Whether a request without the header is described without the entry.
        optional: bool,
    },
    /// A constant, if headers are as they should be.
    HeadersMatch {
        /// The constant.
        value: String,
        /// All must hold.
        headers: Vec<HeaderCondition>,
        /// False for a constant when they do not hold.
        expect: bool,
    },
    /// A string in metadata.
    Metadata {
        /// The entry's key.
        key: String,
        /// Where it stands.
        path: MetadataPath,
        /// Used when there is none; empty to drop the descriptor.
        default: String,
        /// Which metadata.
        source: MetadataSource,
    },
}

/// What must hold of one header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderCondition {
    /// Its name.
    pub name: String,
    /// What must hold.
    pub test: HeaderTest,
    /// Whether the opposite must.
    pub invert: bool,
}

/// A test of a header's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderTest {
    /// It is this.
    Exact(String),
    /// It matches this expression as a whole.
    Regex(String),
    /// It begins with this.
    Prefix(String),
    /// It ends with this.
    Suffix(String),
    /// It is an integer from the first up to, not including, the second.
    Range(i64, i64),
    /// It is there, or it is not.
    Present(bool),
}

/// A place in metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataPath {
    /// The namespace of a filter.
    pub namespace: String,
    /// Keys from there on down.
    pub path: Vec<String>,
}

/// Which metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataSource {
    /// What filters said about the request.
    Dynamic,
    /// What the route's configuration carries.
    Route,
}
