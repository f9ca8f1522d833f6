//! A test for each variant of the rules.

/// `name: body;` makes a module of this name with a test for each [`Variant`](crate::snet::Variant)
/// that calls the body with it, in namespaces of its own.
macro_rules! in_every_variant {
    ($($name:ident: $body:expr;)*) => {
        $(mod $name {
            use super::*;
            use $crate::sealed::sealed;
            use $crate::snet::Variant;

            #[test]
            fn with_iptables_nft() {
                sealed(|_| $body(Variant::Nft));
            }
            #[test]
            fn with_iptables_legacy() {
                sealed(|_| $body(Variant::Legacy));
            }
            #[test]
            fn with_nftables() {
                sealed(|_| $body(Variant::Native));
            }
        })*
    };
}

pub(crate) use in_every_variant;
