//! Every name that generated code shows: full names on the wire, type and method names in Rust.

/// Method names that the client itself needs, or that `Clone` does: a method of such a name gets a trailing
/// underscore, in the trait as well, so that both sides call it the same.
const RESERVED: [&str; 5] = ["new", "with_interceptor", "connect", "channel", "clone"];

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

/// The type of a method's responses where they are a stream: `ListStream` for `List` and for `list`.
///
/// Letters stay as they are but for the first of each word, so that it is the name that tonic gives it
/// wherever the method is in upper camel case, `GetHTTPStatus` included.
pub(crate) fn stream_type(method: &str) -> String {
    let words = method.split('_').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    let name = words.collect::<String>() + "Stream";
    // `rpc _1`: no name begins with a digit.
    if name.starts_with(|first: char| first.is_ascii_digit()) { format!("_{name}") } else { name }
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
    fn types_of_streams_are_in_upper_camel_case() {
        let names = ["List", "list", "list_all", "_List__all_", "GetHTTPStatus", "type", "v1_2", "_1", "_"];
        let types = ["List", "List", "ListAll", "ListAll", "GetHTTPStatus", "Type", "V12", "_1", ""];
        assert_eq!(names.map(stream_type), types.map(|name| format!("{name}Stream")));
    }

    #[test]
    fn a_service_named_as_a_keyword_gives_plain_types() {
        let types = Types::new("Self_");
        assert_eq!((types.client.as_str(), types.blocking.as_str()), ("SelfClient", "BlockingSelf"));
        assert_eq!(types.server, "SelfServer");
    }
}
