//! Every name that generated code shows: full names on the wire, type and method names in Rust.

/// Method names that the client itself needs, or that `Clone` does: a method of such a name gets a trailing
/// underscore, in the trait as well, so that both sides call it the same.
const RESERVED: [&str; 4] = ["new", "connect", "channel", "clone"];

/// The full name of a service: `cache.Cache`, or `Cache` without a package.
pub(crate) fn service(package: &str, service: &str) -> String {
    if package.is_empty() { service.to_owned() } else { format!("{package}.{service}") }
}

/// The full name of a method, which peers agree on at connect: `/cache.Cache/Get`.
pub(crate) fn method(service: &str, method: &str) -> String {
    format!("/{service}/{method}")
}

/// The Rust name of a method, given the one that prost-build made: snake case, raw where it is a keyword.
pub(crate) fn method_ident(snake: &str) -> String {
    if RESERVED.contains(&snake) { format!("{snake}_") } else { snake.to_owned() }
}

/// The types that a service becomes.
pub(crate) struct Types {
    /// What opens calls: `CacheClient`.
    pub(crate) client: String,
    /// What a service's author implements: `BlockingCache`.
    pub(crate) blocking: String,
    /// The trait whose methods are futures.
    pub(crate) asynchronous: String,
    /// What routes calls to the implementation: `CacheServer`.
    pub(crate) server: String,
}

impl Types {
    /// Takes the name in upper camel case. prost-build appends an underscore where that name alone would be a
    /// keyword (`Self_`), which no longer is one once something is joined to it.
    pub(crate) fn new(camel: &str) -> Self {
        let stem = camel.trim_end_matches('_');
        Self {
            client: format!("{stem}Client"),
            blocking: format!("Blocking{stem}"),
            asynchronous: camel.to_owned(),
            server: format!("{stem}Server"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_without_package_has_no_dot() {
        assert_eq!(service("", "Cache"), "Cache");
        assert_eq!(service("a.b", "Cache"), "a.b.Cache");
        assert_eq!(method(&service("", "Cache"), "Get"), "/Cache/Get");
    }

    #[test]
    fn names_of_the_client_are_left_to_it() {
        assert_eq!(method_ident("connect"), "connect_");
        assert_eq!(method_ident("clone"), "clone_");
        assert_eq!(method_ident("r#move"), "r#move");
        assert_eq!(method_ident("connected"), "connected");
    }

    #[test]
    fn a_service_named_as_a_keyword_gives_plain_types() {
        let types = Types::new("Self_");
        assert_eq!((types.client.as_str(), types.blocking.as_str()), ("SelfClient", "BlockingSelf"));
        assert_eq!(types.server, "SelfServer");
    }
}
