//! Tests of the policy domain from outside; see the folder's tests and system description.
#![no_std]
