//! The suite on the reference store.

mod reference;

use reference::Reference;

cloakroom_store_test::suite!(|| async { Reference::default() });
