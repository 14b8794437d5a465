/* Does this MPI take a device's memory? Only what it says itself counts: Open MPI answers a call of
 * its own, any MPI from 4.1 on names the kinds of memory that it takes in the information of a
 * communicator. Where neither says so, rows are staged. */
#include "comm/internal.h"

#include <string.h>
#ifdef OPEN_MPI
#include <mpi-ext.h>
#endif

/* How this MPI was built, and how it was started, both have a say in the answer. */
static bool answers_yes(void) {
#ifdef MPIX_CUDA_AWARE_SUPPORT
    return MPIX_Query_cuda_support() == 1;
#else
    return false;
#endif
}

#if MPI_VERSION > 4 || (MPI_VERSION == 4 && MPI_SUBVERSION >= 1)
/* Kinds stand apart by commas, their restrictions behind a colon: "mpi,system,cuda:device". */
static bool names_cuda(const char *kinds) {
    for (size_t n; *kinds; kinds += n + (kinds[n] == ',')) {
        n = strcspn(kinds, ",");
        const char *limits = kinds + 4;
        if (n < 4 || strncmp(kinds, "cuda", 4) != 0) continue;
        if (n == 4) return true;
        for (size_t m; limits < kinds + n && *limits == ':'; limits += m + 1) {
            m = strcspn(limits + 1, ":,");
            if (m == 6 && strncmp(limits + 1, "device", 6) == 0) return true;
        }
    }
    return false;
}

static bool says_in_info(MPI_Comm comm) {
    char kinds[MPI_MAX_INFO_VAL] = "";
    int length = sizeof kinds, found = 0;
    MPI_Info info;
    if (MPI_Comm_get_info(comm, &info) != MPI_SUCCESS) return false;
    MPI_Info_get_string(info, "mpi_memory_alloc_kinds", &length, kinds, &found);
    MPI_Info_free(&info);
    return found && names_cuda(kinds);
}
#else
static bool says_in_info(MPI_Comm comm) {
    (void)comm;
    return false;
}
#endif

flip_status flip_mpi_takes_devices(MPI_Comm comm) {
    char name[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    if (answers_yes() || says_in_info(comm)) return FLIP_OK;
    MPI_Get_library_version(name, &length);
    return FLIP_FAIL(FLIP_ERROR_LIBRARY,
                     "this MPI does not say that it takes a GPU's memory (%.*s); use one that is "
                     "CUDA-aware, or --device-exchange mpi",
                     (int)strcspn(name, ",\n"), name);
}
