//! The attribute `#[protection_domain]` of `sel4-microkit`.

use proc_macro::{TokenStream, TokenTree};

/// Makes a function of the form `fn() -> impl Handler` the protection domain's initialisation function.
///
/// Takes the optional argument `stack_size = EXPR` (bytes); without it the protection domain runs on the stack
/// that the system description's `stack_size` gives it.
#[proc_macro_attribute]
pub fn protection_domain(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let Some(name) = function_name(item.clone()) else {
        return r##"compile_error!("#[protection_domain] needs a function");"##
            .parse()
            .expect("valid tokens");
    };
    let mut output: TokenStream =
        format!("::sel4_microkit::declare_protection_domain!(init = {name}, {arguments});")
            .parse()
            .expect("an identifier and tokens make valid tokens");
    output.extend(item);
    output
}

/// The identifier that follows the keyword `fn`.
fn function_name(item: TokenStream) -> Option<String> {
    let is_fn = |token: &TokenTree| matches!(token, TokenTree::Ident(word) if word.to_string() == "fn");
    match item.into_iter().skip_while(|token| !is_fn(token)).nth(1) {
        Some(TokenTree::Ident(name)) => Some(name.to_string()),
        _ => None,
    }
}
